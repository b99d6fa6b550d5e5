"""Answers of models in rooms: who writes them, how they survive their process, and how they end."""
