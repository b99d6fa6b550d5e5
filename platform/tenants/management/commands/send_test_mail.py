"""See whether the mail server is reached, and takes what it is given."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from kernel.commands import ParleyCommand
from kernel.loop import on_loop
from kernel.outbox import Failed
from tenants.notifications.mail import send_test


class Command(ParleyCommand):
    help = "Send a test e-mail to an address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SMTP_HOST:
            raise CommandError("there is no mail server: set SMTP_HOST and SMTP_FROM")
        try:
            on_loop(send_test(address=options["address"]))
        except Failed as error:
            raise CommandError(error.reason) from error
        self.answer({"sent_to": options["address"]}, as_json=options["json"])
