"""Random faults, planned ahead: which route a request takes, how each attempt of it will go, and what may come of it.

Everything follows from a seed, so that a plan can be made again."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.cohere_upstream import CohereUpstream
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.ollama_upstream import OllamaUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import Script
from tests.fakes.upstream import Upstream

FORMATS: dict[str, type[Upstream]] = {
    "openai-compatible": OpenAIUpstream,
    "anthropic": AnthropicUpstream,
    "gemini": GeminiUpstream,
    "cohere": CohereUpstream,
    "ollama": OllamaUpstream,
}
APIS = ("chat", "responses", "messages")
WORDS = (
    "ja",
    "Größe",
    "北京",
    "🎈",
    "👩‍👩‍👧",
    "naïve",
    "\u2028",
    "data:",
    "[DONE]",
    "\\n",
    '"',
    "{",
    "so it goes",
    "\n\n",
    "é",
)
MAX_DEPLOYMENTS = 3
PLANNED_ATTEMPTS = 6

WEIGHTS: dict[str | None, float] = {
    None: 30,
    "429": 6, "quota": 3, "500": 5, "500_text": 2, "503": 6, "401": 2, "403": 1, "404": 1, "redirect": 1,
    "400": 2, "too_long": 2, "content_policy": 1, "error_body": 5, "garbage_body": 4, "status": 3,
    "cut_before_headers": 4, "hang_before_headers": 1, "hang_before_first_token": 1, "hang": 1.5,
    "cut": 8, "end": 8, "garbage": 8, "error_frame": 8, "huge_frame": 0.5,
}  # fmt: skip
"""How often each fault is planned. Those that hang are rare: each holds its caller up for as long as a time-out."""

IN_STREAMS = frozenset({"end", "garbage", "error_frame", "huge_frame"})
"""Faults that a plain answer can't have."""
_REFUSALS = frozenset(
    {"401", "403", "404", "429", "quota", "400", "too_long", "content_policy", "500", "500_text", "503", "redirect"}
    | {"error_body"}
)
CLOSING = frozenset({"cohere", "ollama"})
"""Formats whose last frame is what tells a whole answer from a part of one."""


@dataclass(frozen=True)
class Deployment:
    """A model at the fake upstream of a format."""

    format: str
    model: str


@dataclass(frozen=True)
class PlannedRoute:
    """An alias, and who serves it, in order. `well` is the place of one that never harms an answer."""

    alias: str
    deployments: tuple[Deployment, ...]
    well: int | None


@dataclass(frozen=True)
class Plan:
    """One request, and how each upstream of its route answers it, attempt by attempt."""

    tag: str
    api: str
    stream: bool
    prompt: str
    route: PlannedRoute
    scripts: dict[str, tuple[Script, ...]]

    def script(self, model: str, attempt: int) -> Script:
        """How this model answers this attempt (from 0); the last one planned holds for all after it."""
        planned = self.scripts[model]
        return planned[min(attempt, len(planned) - 1)]

    @cached_property
    def formats(self) -> dict[str, str]:
        """The format of each model."""
        return {deployment.model: deployment.format for deployment in self.route.deployments}


def plan_routes(seed: int, count: int) -> list[PlannedRoute]:
    """Routes with one to three deployments each, of any formats."""
    chance = random.Random(f"{seed}/routes")
    routes = []
    for number in range(count):
        size = chance.randint(1, MAX_DEPLOYMENTS)
        chosen = [chance.choice(list(FORMATS)) for _ in range(size)]
        deployments = tuple(
            Deployment(format_, f"storm-{seed}-{number}-{place}") for place, format_ in enumerate(chosen)
        )
        well = chance.randrange(size) if chance.random() < 0.5 else None
        routes.append(PlannedRoute(f"storm-{seed}-{number}", deployments, well))
    return routes


def plan_request(seed: int, number: int, routes: Sequence[PlannedRoute]) -> Plan:
    """The request of this number."""
    chance = random.Random(f"{seed}/{number}")
    route = chance.choice(routes)
    tag = f"storm-{seed}-{number}"
    scripts = {
        deployment.model: _attempts(chance, f"{tag}.{place}", well=place == route.well)
        for place, deployment in enumerate(route.deployments)
    }
    prompt = f"{tag} " + " ".join(chance.choices(("how", "much", "is", "the", "fish", "🐟"), k=chance.randint(0, 9)))
    return Plan(tag, chance.choice(APIS), chance.random() < 0.6, prompt.strip(), route, scripts)


def _attempts(chance: random.Random, name: str, *, well: bool) -> tuple[Script, ...]:
    """Some that go wrong, each in its way, and then perhaps one that doesn't."""
    if well:
        return (_script(chance, f"{name}.0", fault=None, closes=True),)
    faults = chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=chance.randint(1, PLANNED_ATTEMPTS))
    return tuple(
        _script(chance, f"{name}.{attempt}", fault=fault, closes=chance.random() < 0.9)
        for attempt, fault in enumerate(faults)
    )


def _script(chance: random.Random, name: str, *, fault: str | None, closes: bool) -> Script:
    text = f"{name} " + " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))
    arguments = json.dumps({"city": chance.choice(WORDS), "n": chance.randint(0, 9)}, ensure_ascii=False)
    calls = [{"id": f"call_{name}", "name": "weather", "arguments": arguments}]
    status, body = chance.choice(((418, "I'm a teapot"), (502, ""), (200, ""), (200, "null"), (200, "[]"), (200, "{}")))
    return Script(
        text=text,
        tool_calls=calls if chance.random() < 0.2 else [],
        chunk=chance.randint(1, 12),
        usage=chance.choice(("asked", "asked", "always", "never", "changes")),
        done=closes or chance.random() < 0.5,
        hang_at_end=chance.random() < 0.02,
        id=chance.random() < 0.8,
        role=chance.random() < 0.9,
        null_content=chance.random() < 0.2,
        comments=chance.random() < 0.3,
        crlf=chance.random() < 0.3,
        split=chance.randint(1, 9) if chance.random() < 0.4 else 0,
        fault=fault,
        fault_after=chance.randint(0, 6),
        retry_after=chance.choice((None, 0, 0.2, 2)) if fault in ("429", "503") else None,
        status=status,
        body=body,
    )


def is_harmful(script: Script, format_: str, *, stream: bool) -> bool:
    """Whether there is no whole answer by this script."""
    if script.fault is None or (script.fault in IN_STREAMS and not stream):
        return stream and not script.done and format_ in CLOSING
    return True


def is_refusal(script: Script) -> bool:
    """Whether a fault says by itself that nothing was used."""
    if script.fault == "status":
        return script.status >= 300
    return script.fault in _REFUSALS


def is_rejection(script: Script) -> bool:
    """Whether a fault is one that another upstream would have as well, so that none is asked."""
    return script.fault in ("400", "content_policy") or (script.fault == "status" and script.status == 418)


def is_mischief(script: Script, format_: str, *, stream: bool) -> bool:
    """Whether anything about this script isn't as it should be."""
    odd = script.crlf or script.comments or script.split or script.null_content or script.hang_at_end
    missing = not (script.done and script.id and script.role) or script.usage in ("never", "changes")
    return is_harmful(script, format_, stream=stream) or (stream and bool(odd or missing)) or script.usage == "never"
