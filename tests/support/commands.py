"""Runs management commands, one after another, as lines of standard input tell it: `["create_tenant", "acme", "--json"]`.

A process for each would spend seconds on its start. Answers a line of JSON for each: {"output"} or {"error"}.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Until the end of the input."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "platform"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django
    from django.core.management import call_command

    django.setup()
    for line in sys.stdin:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                call_command(*json.loads(line), stdout=printed)
            answer = {"output": printed.getvalue()}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whoever asked is told
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
