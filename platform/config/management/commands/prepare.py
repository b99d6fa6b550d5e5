"""`manage.py prepare`: bring the database up to date, all in one process; quick when there is nothing to do."""

import argparse
import io
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from config.bootstrap import prepare_database
from config.embedded.home import Home
from config.env import read_env
from config.up.run import DEMO_MARK

OWNER = "owner"


class Command(BaseCommand):
    """Roles, database and migrations; the local model's and the demo tenant's rows where asked for."""

    help = "Make the roles and the database, and migrate. Safe to repeat."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What to make besides."""
        parser.add_argument("--local-model", action="store_true", help="let tenants use the small local model")
        parser.add_argument("--demo", action="store_true", help="make the demo tenant on a first start")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, migrate, and run the commands asked for."""
        prepare_database(_administrator_url())
        if _is_behind():
            call_command("migrate", database=OWNER, interactive=False, verbosity=1)
        call_command("ensure_providers", stdout=self.stdout, stderr=self.stderr)
        if options["local_model"]:
            call_command("ensure_local_model", stdout=self.stdout)
        if options["demo"]:
            told = io.StringIO()
            call_command("ensure_demo", stdout=told)
            for line in told.getvalue().splitlines():
                self.stdout.write(DEMO_MARK + line)


def _administrator_url() -> str:
    env = read_env()
    return env.database_url.get_secret_value() if env.database_url else Home(env.parley_home).database_url()


def _is_behind() -> bool:
    executor = MigrationExecutor(connections[OWNER])
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
