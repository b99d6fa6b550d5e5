"""E-mail, handed to a real SMTP server: in text and HTML, once, and without ever keeping anything else waiting."""

import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import transaction

from kernel.models import OutboxMessage
from kernel.objects import object_name, object_storage
from tenants.notifications import Attachment, Audience, notify
from tenants.notifications.smtp import server
from tests.fakes.smtp import MailServer
from tests.isolation.roles import administrator
from tests.support.cast import Company
from tests.support.certificates import own_certificate


@pytest.fixture(autouse=True)
def _ask_again() -> Iterator[None]:
    server.forget()
    yield
    server.forget()


def use(settings: Any, mail: MailServer, **more: Any) -> None:
    values = {"HOST": "127.0.0.1", "PORT": mail.port, "TLS": "none", "FROM": "Parley <parley@ours.example>", **more}
    for name, value in values.items():
        setattr(settings, f"SMTP_{name}", value)


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    with MailServer() as running:
        use(settings, running)
        yield running


def tell(company: Company, once_key: str = "once", **said: Any) -> uuid.UUID | None:
    values: dict[str, Any] = {
        "audience": Audience(permission="usage.read"),
        "subject": "80 % of the budget “Research” is spent",
        "text": "It ends on Friday.\n\n<b>Not</b> bold & safe.",
        **said,
    }
    with company.scope(), transaction.atomic():
        return notify(tenant_id=company.id, topic="webhook.test", once_key=once_key, **values)


def waiting(company: Company) -> list[OutboxMessage]:
    with company.scope(), transaction.atomic():
        return list(OutboxMessage.objects.filter(topic="tenants.mail"))


def make_due(company: Company) -> None:
    with administrator() as admin:
        admin.execute("UPDATE kernel_outboxmessage SET due_at = now() WHERE status = 'waiting'")


def test_a_notice_is_mailed_in_text_and_html(
    company: Company, mail: MailServer, work_off: Callable[[], int], settings: Any
) -> None:
    settings.PUBLIC_URL = "https://parley.ours.example"
    tell(company, link="/console/usage")
    work_off()
    (got,) = mail.received
    assert got.recipients == (company.alice.email,)
    assert got.sender == "parley@ours.example"
    assert got.message["Subject"] == "80 % of the budget “Research” is spent"
    assert got.message["From"] == "Parley <parley@ours.example>"
    assert got.message["Auto-Submitted"] == "auto-generated"
    text, html = (got.message.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert "It ends on Friday." in text
    assert "<b>Not</b> bold & safe." in text
    assert "&lt;b&gt;Not&lt;/b&gt; bold &amp; safe." in html
    for body in (text, html):
        assert "https://parley.ours.example/console/usage" in body
        assert company.tenant.name in body


def test_it_is_sent_once_and_a_repetition_has_the_same_id(
    company: Company, mail: MailServer, work_off: Callable[[], int]
) -> None:
    tell(company)
    tell(company)
    work_off()
    assert len(mail.received) == 1
    (sent,) = waiting(company)
    assert sent.status == "done"
    assert str(sent.id) in mail.received[0].message["Message-ID"]


def test_addresses_and_members_get_one_each(company: Company, mail: MailServer, work_off: Callable[[], int]) -> None:
    audience = Audience(
        permission="usage.read",
        memberships=(company.alice.membership_id, company.bob.membership_id),
        addresses=("books@elsewhere.example", company.alice.email.upper()),
    )
    tell(company, audience=audience)
    work_off()
    assert sorted(got.recipients[0] for got in mail.received) == sorted(
        [company.alice.email, company.bob.email, "books@elsewhere.example"]
    )


def test_a_domain_of_other_letters_is_written_in_ascii(
    company: Company, mail: MailServer, work_off: Callable[[], int]
) -> None:
    """Most servers take no other, and one that doesn't would keep everybody's mail waiting."""
    mail.knows_utf8 = False
    with administrator() as admin:
        admin.execute(
            "UPDATE tenants_person SET email = 'alice@münchen.example', name = 'Älice' WHERE email = %s",
            [company.alice.email],
        )
    tell(company, audience=Audience(permission="usage.read", addresses=("books@bücher.example", "bücher@ours.example")))
    work_off()
    assert sorted(got.recipients[0] for got in mail.received) == [
        "alice@xn--mnchen-3ya.example",
        "books@xn--bcher-kva.example",
    ]
    assert {got.message["To"] for got in mail.received} == {
        "Älice <alice@xn--mnchen-3ya.example>",
        "books@xn--bcher-kva.example",
    }
    assert sorted((one.status, one.problem) for one in waiting(company)) == [
        ("dead", "the address can't be written in ASCII"),
        ("done", ""),
        ("done", ""),
    ]


def test_attachments_come_along_and_one_that_is_gone_is_left_out(
    company: Company, mail: MailServer, work_off: Callable[[], int]
) -> None:
    name = object_storage().save(object_name(company.id, "invoices", "1.pdf"), ContentFile(b"%PDF-1.7 \x00\xff"))
    gone = object_name(company.id, "invoices", "2.pdf")
    files = tuple(Attachment(f"{n}.pdf", "application/pdf", where) for n, where in enumerate((name, gone)))
    tell(company, attachments=files, html="<p>Your <em>invoice</em>.</p>")
    work_off()
    (got,) = mail.received
    (file,) = got.message.iter_attachments()
    assert (file.get_filename(), file.get_content_type()) == ("0.pdf", "application/pdf")
    assert file.get_content() == b"%PDF-1.7 \x00\xff"
    assert "<em>invoice</em>" in got.message.get_body(("html",)).get_content()


def test_without_a_mail_server_it_is_told_in_the_app_alone(company: Company, work_off: Callable[[], int]) -> None:
    tell(company)
    work_off()
    assert waiting(company) == []
    assert len(company.alice.client.get("/api/v1/notifications").json()["data"]) == 1


def test_a_server_that_is_away_is_asked_again_later_and_blocks_nothing(
    company: Company, settings: Any, work_off: Callable[[], int]
) -> None:
    with MailServer() as gone:
        pass
    use(settings, gone)
    tell(company, "one")
    work_off()
    tell(company, "two")
    work_off()
    assert sorted((one.status, one.attempts, one.problem) for one in waiting(company)) == [
        ("waiting", 0, "later"),
        ("waiting", 1, "the mail server can't be used: ConnectionRefusedError"),
    ]
    assert len(company.alice.client.get("/api/v1/notifications").json()["data"]) == 2
    with MailServer() as back:
        use(settings, back)
        server.forget()
        make_due(company)
        work_off()
        assert len(back.received) == 2
    assert {one.status for one in waiting(company)} == {"done"}


def test_a_server_that_hangs_costs_one_wait(
    company: Company, settings: Any, mail: MailServer, work_off: Callable[[], int]
) -> None:
    mail.hangs = True
    settings.SMTP_TIMEOUT_S = 0.2
    for number in range(5):
        tell(company, f"{number}")
    work_off()
    assert mail.connections == 1
    assert sum(one.attempts for one in waiting(company)) == 1


@pytest.mark.parametrize(
    ("verb", "line", "status", "problem"),
    [
        ("RCPT", "550 no such user", "dead", "the mail server refuses the recipient (550)"),
        ("RCPT", "451 come back", "waiting", "the mail server refuses the recipient (451)"),
        ("BODY", "552 too much", "dead", "the mail server refuses the message (552)"),
        ("MAIL", "552 too much, it will be", "dead", "the mail server refuses the message (552)"),
        ("MAIL", "553 not you", "waiting", "the mail server refuses SMTP_FROM (553)"),
        ("EHLO", "421 closing", "waiting", "the mail server can't be used: SMTPHeloError"),
    ],
)
def test_what_the_server_says_decides(
    company: Company,
    mail: MailServer,
    work_off: Callable[[], int],
    verb: str,
    line: str,
    status: str,
    problem: str,
) -> None:
    mail.refusals[verb] = [line, line] if verb == "EHLO" else [line]
    mail.refusals["HELO"] = [line]
    tell(company)
    work_off()
    (one,) = waiting(company)
    assert (one.status, one.problem) == (status, problem)
    assert mail.received == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return own_certificate(tmp_path)


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_over_tls_with_a_login_and_only_to_a_server_whose_certificate_holds(
    company: Company,
    settings: Any,
    work_off: Callable[[], int],
    certificate: Path,
    monkeypatch: Any,
    mode: str,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with MailServer(tls=tls, tls_at_once=mode == "tls", login=("parley", "hunter2")) as mail:
        use(settings, mail, TLS=mode, USER="parley", PASSWORD="hunter2")
        tell(company)
        work_off()
        assert mail.received == []
        assert waiting(company)[0].problem == "the mail server's TLS fails"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        server.forget()
        make_due(company)
        work_off()
        (got,) = mail.received
        assert (got.over_tls, got.user) == (True, "parley")


def test_a_wrong_password_is_told_to_operators(company: Company, settings: Any, work_off: Callable[[], int]) -> None:
    with MailServer(login=("parley", "hunter2")) as mail:
        use(settings, mail, USER="parley", PASSWORD="wrong")
        tell(company)
        work_off()
    (one,) = waiting(company)
    assert (one.status, one.problem) == ("waiting", "the mail server refuses SMTP_USER (535)")


def test_an_operator_sends_a_test(mail: MailServer, settings: Any, capsys: Any) -> None:
    call_command("send_test_mail", "ops@ours.example")
    assert mail.received[0].recipients == ("ops@ours.example",)
    mail.refusals["RCPT"] = ["550 no"]
    with pytest.raises(CommandError, match="refuses the recipient"):
        call_command("send_test_mail", "ops@ours.example")
    settings.SMTP_HOST = ""
    with pytest.raises(CommandError, match="SMTP_HOST"):
        call_command("send_test_mail", "ops@ours.example")
