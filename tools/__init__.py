"""What the Makefile runs before anything is installed: the standard library alone.

environment  makes .venv and keeps it as requirements/ says
web          builds the browser app when its sources changed
"""
