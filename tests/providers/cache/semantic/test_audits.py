"""Asking all the same: what is compared, what is counted, and what follows from too many wrong answers."""

import math

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from kernel.models import OutboxMessage
from kernel.outbox import Message
from providers.cache.models import CacheNamespace
from providers.cache.semantic.audits import TOPIC
from providers.cache.semantic.detector import RUN_LENGTH, interval, is_breached
from providers.cache.semantic.models import SemanticAudit
from providers.services.breaches import EVENT, tell_of_breach
from tenants.notifications.models import Notice
from tests.providers.cache.conftest import House, text_of
from tests.providers.cache.semantic.conftest import entries, switch_on
from tests.providers.cache.semantic.test_alike import ALIKE, ASKED, Written

DRIFT_WITHIN = 500


def audits(house: House) -> list[SemanticAudit]:
    """What was compared, oldest first."""
    with house.company.scope(), transaction.atomic():
        return list(SemanticAudit.objects.order_by("id"))


def settings_of(house: House) -> CacheNamespace:
    """The settings in force."""
    with house.company.scope(), transaction.atomic():
        return CacheNamespace.objects.get()


def notices(house: House) -> list[Notice]:
    """What the company is told of its cache, once the outbox was worked off."""
    with house.company.scope(), transaction.atomic():
        for sent in OutboxMessage.objects.filter(topic=TOPIC):
            message = Message(sent.id, sent.tenant_id, sent.topic, sent.payload, 1, False, sent.created_at)
            tell_of_breach(message)
            tell_of_breach(message)
        return list(Notice.objects.filter(topic=EVENT))


async def test_an_audited_question_is_asked_and_compared(alike: House, written: Written) -> None:
    await sync_to_async(switch_on)(alike.company, semantic_audit_share=1.0)
    alike.upstream.script(text="Paris.")
    await alike.ask(ASKED)
    await written()
    answer = await alike.ask(ALIKE)
    assert answer.headers["x-parley-cache"] == "miss"
    await written()
    (audit,) = await sync_to_async(audits)(alike)
    assert audit.agreed
    assert audit.cosine > 0.6
    assert b"Paris" not in bytes(audit.seen)
    assert b"France" not in bytes(audit.seen)
    shown = await alike.rest("GET", "cache/semantic")
    assert (shown["audits"]["count"], shown["audits"]["wrong"]) == (1, 0)
    assert shown["audits"]["high"] < 1


async def test_an_entry_that_an_audit_contradicts_is_served_no_more(alike: House, written: Written) -> None:
    await sync_to_async(switch_on)(alike.company, semantic_audit_share=1.0)
    alike.upstream.script(text="Paris.")
    await alike.ask(ASKED)
    await written()
    alike.upstream.script(text="The capital moved somewhere else entirely.")
    assert text_of(await alike.ask(ALIKE)) == "The capital moved somewhere else entirely."
    await written()
    was, now = await sync_to_async(entries)(alike.company)
    assert (was.wrong, was.size, bytes(was.body), bytes(was.question)) == (1, 0, b"", b"")
    assert (now.wrong, now.size > 0) == (0, True)
    assert [audit.agreed for audit in await sync_to_async(audits)(alike)] == [False]


async def test_a_provider_that_now_refuses_contradicts_what_is_kept(alike: House, written: Written) -> None:
    await sync_to_async(switch_on)(alike.company, semantic_audit_share=1.0)
    alike.upstream.script(text="Paris.")
    await alike.ask(ASKED)
    await written()
    alike.upstream.script(text="I'm sorry, but I can't help with that.")
    await alike.ask(ALIKE)
    await written()
    (was,) = await sync_to_async(entries)(alike.company)
    assert (was.wrong, was.size) == (1, 0)
    assert [audit.agreed for audit in await sync_to_async(audits)(alike)] == [False]


async def test_answers_that_change_their_meaning_switch_the_tier_off(alike: House, written: Written) -> None:
    """The provider's answers are others from one day to the next: within 500 audited hits the tier is off."""
    await sync_to_async(switch_on)(alike.company, semantic_audit_share=1.0)
    topics = [f"topic{number}" for number in range(12)]
    for topic in topics:
        alike.upstream.script(text=f"All about {topic}, as it was.")
        await alike.ask(f"What do people know about the {topic} of old")
        await written()
    for number, topic in enumerate(topics):
        alike.upstream.script(text=f"Nothing is left: entirely other words for number {number} came instead.")
        await alike.ask(f"The {topic} of old: what do people know about it")
        await written()
    row = await sync_to_async(settings_of)(alike)
    assert not row.semantic
    assert "switched off" in row.semantic_problem
    compared = await sync_to_async(audits)(alike)
    assert 0 < len(compared) < DRIFT_WITHIN
    assert (await alike.rest("GET", "cache/semantic"))["enabled"] is False
    told = [notice.subject for notice in await sync_to_async(notices)(alike)]
    assert told.count("The semantic cache was switched off") == 1
    asked = alike.asked
    assert (await alike.ask(f"About the {topics[0]} of old: what do people know of it")).headers[
        "x-parley-cache"
    ] == "miss"
    await written()
    assert alike.asked == asked + 1


async def test_turning_it_on_again_begins_anew(alike: House) -> None:
    await sync_to_async(switch_on)(
        alike.company, semantic=False, semantic_problem="It was wrong.", semantic_tightened=2
    )
    assert (await alike.rest("GET", "cache/semantic"))["problem"] == "It was wrong."
    assert (await alike.rest("PATCH", "cache", {"semantic": True}))["semantic"] is True
    shown = await alike.rest("GET", "cache/semantic")
    assert (shown["problem"], shown["effective_rate"]) == ("", shown["rate"])


@pytest.mark.parametrize(("share", "within"), [(1.0, 3), (0.5, 30), (0.1, 500)])
def test_a_change_for_the_worse_is_noticed_soon(share: float, within: int) -> None:
    every = round(1 / share)
    quiet = [False] * 2_000
    worse = [number % every == every - 1 for number in range(within)]
    assert not is_breached(quiet, rate=0.02)
    assert is_breached(quiet + worse, rate=0.02)


def test_as_many_as_were_stated_are_no_breach() -> None:
    assert not is_breached([number % 100 == 50 for number in range(RUN_LENGTH)], rate=0.01)
    assert not is_breached([number % 100 == 50 for number in range(RUN_LENGTH)], rate=0.02)


def at_most(count: int, trials: int, rate: float) -> float:
    """The chance of at most `count` successes."""
    return math.fsum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1))


@pytest.mark.parametrize(("wrong", "count"), [(0, 10), (1, 10), (10, 10), (5, 500), (40, 1000)])
def test_the_interval_is_the_exact_one(wrong: int, count: int) -> None:
    """At each end, what was seen is just as unlikely as the confidence allows."""
    low, high = interval(wrong, count)
    assert low <= wrong / count <= high
    assert (low == 0.0) if wrong == 0 else at_most(wrong - 1, count, low) == pytest.approx(0.975, abs=1e-6)
    assert (high == 1.0) if wrong == count else at_most(wrong, count, high) == pytest.approx(0.025, abs=1e-6)


def test_without_audits_any_rate_is_possible() -> None:
    assert interval(0, 0) == (0.0, 1.0)
