"""From an accepted job to its answer: the stages before a pump, and what is remembered after it.

Each stage is one line here. A stage before the pump may raise a ParleyError (nothing was used yet), replace the job, or
answer it by returning another `Answering`."""

import dataclasses
from functools import partial

from providers.guardrails.deny import inspect_in
from providers.guardrails.mask import Mask
from providers.guardrails.outward import Outward
from providers.guardrails.rules import NO_RULES, Rules
from providers.guardrails.store import rules_of
from providers.pipeline.answering import Answering
from providers.pipeline.pump import OnDisconnect, Remember
from providers.pipeline.pumps import pumps
from providers.pipeline.record import record_result
from providers.pipeline.values import Job
from providers.requests.record import capture

NEVER_CAPTURED = frozenset({"room"})
"""Surfaces whose contents have a place and readers of their own."""


async def start(job: Job, *, on_disconnect: OnDisconnect = "stop") -> Answering:
    """Let an accepted job through the stages. Raises the ParleyError of the stage that refuses it."""
    rules = await rules_of(job.payer.tenant_id)
    remember: list[Remember] = []
    if rules is not NO_RULES:
        job = _inspected(job, rules)
        if rules.capture_days is not None and job.surface not in NEVER_CAPTURED:
            remember.append(partial(capture, rules=rules))
    return pumps.start(
        job=job, settle=record_result, on_disconnect=on_disconnect, remember=remember, outward=_outward(rules)
    )


def _inspected(job: Job, rules: Rules) -> Job:
    request = inspect_in(job.request, rules)
    return job if request is job.request else dataclasses.replace(job, request=request)


def _outward(rules: Rules) -> Outward | None:
    return Outward(Mask(secrets=rules.mask_secrets, cards=rules.mask_cards)) if rules.masks else None
