"""Attempts at deliveries: each is logged, and what fails is tried again for about a day."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
from aiohttp import ClientError, ClientResponse, ClientTimeout

from kernel import adb, egress, outbox
from kernel.ids import uuid7
from tenants.notifications import Audience, notify
from tenants.webhooks import signing
from tenants.webhooks.fan_out import DeliveryPayload
from tenants.webhooks.models import EXCERPT_CHARS_MAX, WebhookEndpoint

SCHEDULE = outbox.Schedule((5, 60, 300, 1800, 3600, 7200, 14_400, 18_000, 18_000, 18_000))
"""About a day."""
AT_ONCE, AT_ONCE_OF_TENANT = 64, 8
TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 4 * 1024
DISABLED_AFTER = timedelta(days=3)
"""An endpoint that took nothing for so long is turned off with its next failure."""
DISABLED_TOPIC = "tenants.webhook_disabled"
GONE = 410
HIDDEN = "[hidden]"

_FIND = """
    SELECT d.event_id, d.body, d.attempts, e.id AS endpoint_id, e.url, e.enabled, e.secret,
           CASE WHEN e.previous_until > now() THEN e.previous_secret END AS previous_secret
    FROM tenants_webhookdelivery d JOIN tenants_webhookendpoint e ON e.tenant_id = d.tenant_id AND e.id = d.endpoint_id
    WHERE d.id = %s AND d.status = 'pending'
"""
_LOG = """
    INSERT INTO tenants_webhookattempt (id, tenant_id, delivery_id, number, status_code, latency_ms, problem, excerpt)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, delivery_id, number) DO NOTHING
"""
_MARK = """
    UPDATE tenants_webhookdelivery SET status = %s, problem = %s, attempts = %s,
        next_attempt_at = now() + make_interval(secs => %s), ended_at = CASE WHEN %s = 'pending' THEN NULL ELSE now() END
    WHERE id = %s
"""
_WELL = "UPDATE tenants_webhookendpoint SET failing_since = NULL WHERE id = %s AND failing_since IS NOT NULL"
_ILL = """
    UPDATE tenants_webhookendpoint SET failing_since = coalesce(failing_since, now()),
        enabled = NOT (%(gone)s OR coalesce(failing_since < now() - %(after)s, false)),
        disabled_reason = CASE WHEN %(gone)s THEN 'gone'
            WHEN coalesce(failing_since < now() - %(after)s, false) THEN 'failing' ELSE '' END
    WHERE id = %(endpoint)s AND enabled
    RETURNING enabled, failing_since
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that is to be made, and where."""

    delivery_id: uuid.UUID
    tenant_id: uuid.UUID
    event_id: uuid.UUID
    body: bytes = field(repr=False)
    attempts: int
    endpoint_id: uuid.UUID
    url: str
    enabled: bool
    secrets: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt: an answer, or a problem without one."""

    latency_ms: int
    status_code: int | None = None
    problem: str = ""
    excerpt: str = ""

    @property
    def is_well(self) -> bool:
        """Whether the endpoint took it."""
        return self.status_code is not None and 200 <= self.status_code < 300


class DisabledPayload(msgspec.Struct, frozen=True):
    """What the outbox says of an endpoint that was turned off."""

    endpoint_id: uuid.UUID
    since: datetime


async def deliver(message: outbox.Message) -> None:
    """Sender: one attempt. Raises `outbox.Failed` when there is to be another."""
    payload = msgspec.convert(message.payload, DeliveryPayload)
    pending = await _pending(message.tenant_id, payload.delivery_id)
    if pending is None:
        return
    if not pending.enabled:
        await _mark(pending, Result(0, problem="the endpoint is off"), again_after_s=None, tried=False)
        return
    result = await attempt(pending)
    again_after_s = None if result.is_well or result.status_code == GONE else SCHEDULE.delay_s(message.attempt)
    await _mark(pending, result, again_after_s=again_after_s, tried=True)
    if again_after_s is not None:
        raise outbox.Failed(result.problem, again_after_s=again_after_s)


async def attempt(pending: Pending) -> Result:
    """One signed request. Nothing that goes wrong with it is raised."""
    began = time.monotonic()
    headers = signing.headers(
        event_id=pending.event_id, at_s=int(time.time()), body=pending.body, secrets=pending.secrets
    )
    hidden = [*headers["webhook-signature"].split(" "), *map(signing.shown, pending.secrets)]
    headers |= {"Content-Type": "application/json", "User-Agent": "parley", "Accept-Encoding": "identity"}
    status_code, problem, said = None, "", ""
    try:
        client = egress.client()
        destination = client.check(pending.url)
        async with (
            asyncio.timeout(TIMEOUT_S),
            client.session(inside=destination.inside) as session,
            session.post(
                destination.url,
                data=pending.body,
                headers=headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            ) as response,
        ):
            status_code = response.status
            if not 200 <= status_code < 300:
                problem = f"HTTP {status_code}"
            if not destination.inside:
                # What answers inside of the operator's networks is nothing for tenants to read.
                said = excerpt(await _beginning(response), hidden=hidden)
    except TimeoutError:
        problem = "no answer in time"
    except egress.URLRefused:
        problem = "the URL may not be called"
    except (ClientError, OSError, ValueError):
        problem = "the endpoint can't be reached" if status_code is None else "the answer broke off"
    return Result(int((time.monotonic() - began) * 1000), status_code, problem, said)


def excerpt(body: bytes, *, hidden: list[str]) -> str:
    """How an answer begins, without what we know to be secret, on one line."""
    text = body.decode("utf-8", errors="replace")
    for secret in sorted(hidden, key=len, reverse=True):
        for form in (secret, secret.partition(",")[2], secret.partition("_")[2]):
            text = text.replace(form, HIDDEN) if len(form) > 8 else text
    return "".join(letter if letter.isprintable() else " " for letter in text)[:EXCERPT_CHARS_MAX]


def tell_disabled(message: outbox.Message) -> None:
    """Consumer: tell those who may mend it that an endpoint was turned off."""
    payload = msgspec.convert(message.payload, DisabledPayload)
    endpoint = WebhookEndpoint.objects.filter(id=payload.endpoint_id).first()
    if endpoint is None:
        return
    why = (
        "it said that it is gone (410)"
        if endpoint.disabled_reason == "gone"
        else f"it took nothing since {payload.since:%Y-%m-%d %H:%M} UTC"
    )
    notify(
        tenant_id=message.tenant_id,
        topic="webhook.disabled",
        once_key=f"webhook.disabled {endpoint.id} {payload.since.isoformat()}",
        audience=Audience(permission="webhooks.manage"),
        subject="A webhook was turned off",
        text=f"The endpoint {endpoint.url} gets no more events: {why}.\n\nMend it, turn it on again, and replay what it missed.",
        link="",
        data={"webhook_id": str(endpoint.id), "reason": endpoint.disabled_reason},
    )


async def _pending(tenant_id: uuid.UUID, delivery_id: uuid.UUID) -> Pending | None:
    async with adb.transaction(tenant_id) as opened:
        row = await (await opened.execute(_FIND, (delivery_id,))).fetchone()
    if row is None:
        return None
    secrets = tuple(
        signing.unseal(bytes(row[column]), tenant_id=tenant_id, endpoint_id=row["endpoint_id"], column=column)
        for column in ("secret", "previous_secret")
        if row[column] is not None
    )
    return Pending(
        delivery_id=delivery_id,
        tenant_id=tenant_id,
        event_id=row["event_id"],
        body=row["body"].encode(),
        attempts=row["attempts"],
        endpoint_id=row["endpoint_id"],
        url=row["url"],
        enabled=row["enabled"],
        secrets=secrets,
    )


async def _mark(pending: Pending, result: Result, *, again_after_s: float | None, tried: bool) -> None:
    """Log an attempt, and what it means for the delivery and the endpoint, in one transaction."""
    status = "delivered" if result.is_well else "failed" if again_after_s is None else "pending"
    number = pending.attempts + tried
    async with adb.transaction(pending.tenant_id) as opened:
        if tried:
            logged = (result.status_code, result.latency_ms, result.problem, result.excerpt)
            await opened.execute(_LOG, (uuid7(), pending.tenant_id, pending.delivery_id, number, *logged))
        await opened.execute(_MARK, (status, result.problem, number, again_after_s, status, pending.delivery_id))
        if result.is_well:
            await opened.execute(_WELL, (pending.endpoint_id,))
        elif tried:
            await _fall_ill(opened, pending, gone=result.status_code == GONE)


async def _fall_ill(opened: adb.Connection, pending: Pending, *, gone: bool) -> None:
    given = {"gone": gone, "after": DISABLED_AFTER, "endpoint": pending.endpoint_id}
    row = await (await opened.execute(_ILL, given)).fetchone()
    if row is None or row["enabled"]:
        return
    since = row["failing_since"].astimezone(UTC)
    await outbox.send_on(
        opened,
        tenant_id=pending.tenant_id,
        topic=DISABLED_TOPIC,
        payload={"endpoint_id": str(pending.endpoint_id), "since": since.isoformat()},
    )


async def _beginning(response: ClientResponse) -> bytes:
    """The first bytes of an answer; what follows is not read."""
    return await response.content.read(ANSWER_BYTES_MAX)
