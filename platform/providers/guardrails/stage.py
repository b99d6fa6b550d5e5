"""The stages inspect_in and inspect_out of the pipeline."""

from dataclasses import dataclass
from functools import partial

from msgspec import structs

from providers.guardrails.deny import inspect_in
from providers.guardrails.mask import Mask
from providers.guardrails.outward import Outward
from providers.guardrails.rules import NO_RULES, Rules
from providers.guardrails.store import rules_of
from providers.pipeline.pump import Remember
from providers.pipeline.values import Job
from providers.requests.record import capture

NEVER_CAPTURED = frozenset({"room"})
"""Surfaces whose contents have a place and readers of their own."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A job that may go on, and what its tenant's rules ask of its answer."""

    job: Job
    rules: Rules = NO_RULES

    @property
    def masks(self) -> tuple[bool, ...]:
        """What is taken out of the answer, of all that can be."""
        return self.rules.mask_secrets, self.rules.mask_cards

    def outward(self) -> Outward | None:
        """What the answer passes on its way out, if anything."""
        rules = self.rules
        return Outward(Mask(secrets=rules.mask_secrets, cards=rules.mask_cards)) if rules.masks else None

    def remember(self) -> tuple[Remember, ...]:
        """What is to be done with the settled result."""
        if self.rules.capture_days is None or self.job.surface in NEVER_CAPTURED:
            return ()
        return (partial(capture, rules=self.rules),)


async def inspect(job: Job) -> Inspected:
    """Hold a job against its tenant's rules. Raises `ContentDenied`."""
    rules = await rules_of(job.payer.tenant_id)
    if rules is NO_RULES:
        return Inspected(job)
    request = inspect_in(job.request, rules)
    return Inspected(job if request is job.request else structs.replace(job, request=request), rules)
