"""`manage.py up`: the whole platform on one machine."""

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand

from config.up import options as up_options
from config.up.run import run


class Command(BaseCommand):
    """Parses, runs, exits with its status. `manage.py` itself runs `up` without loading Django."""

    help = up_options.DESCRIPTION
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of `up`."""
        up_options.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until told to stop."""
        sys.exit(run(up_options.from_namespace(argparse.Namespace(**options))))
