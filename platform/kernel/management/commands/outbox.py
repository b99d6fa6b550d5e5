"""The operator's view of the outbox: what waits, what was given up, and another try for that."""

import uuid
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from kernel.commands import ParleyCommand
from kernel.outbox import upkeep


class Command(ParleyCommand):
    help = "Show how the outbox stands, list dead messages (newest first), or have some tried again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["status", "dead", "replay"])
        parser.add_argument("--id", type=uuid.UUID, help="replay: this message; dead: those before it")
        parser.add_argument("--topic", help="replay, dead: those of this topic")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action, message_id, topic, as_json = (options[name] for name in ("action", "id", "topic", "json"))
        if action == "status":
            self.answer(asdict(upkeep.state()), as_json=as_json)
        elif action == "replay":
            if (message_id is None) == (topic is None):
                raise CommandError("outbox replay needs --id or --topic")
            self.answer({"replayed": upkeep.replay(message_id=message_id, topic=topic)}, as_json=as_json)
        elif as_json:
            found = upkeep.dead(topic=topic, before=message_id)
            self.answer({"dead": [asdict(one) for one in found]}, as_json=True)
        else:
            for one in upkeep.dead(topic=topic, before=message_id):
                self.stdout.write(f"{one.id} {one.tenant_id} {one.topic} after {one.attempts}: {one.problem}")
