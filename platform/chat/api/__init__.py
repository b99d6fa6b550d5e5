"""Rooms over REST."""
