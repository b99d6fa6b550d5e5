"""`runserver` is daphne's, though daphne is no installed app."""

import pytest
from daphne.management.commands.runserver import Command
from django.core.management import get_commands, load_command_class

pytestmark = pytest.mark.no_database


def test_runserver_speaks_asgi() -> None:
    app = get_commands()["runserver"]
    assert isinstance(load_command_class(str(app), "runserver"), Command)
