"""`manage.py runserver`, by daphne, which speaks ASGI.

Daphne as an installed app would bring the same command, but have every process import Twisted at its start.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
