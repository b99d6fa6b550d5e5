"""What a model is given to answer from: what it is told first, and of the branch as many of the latest turns as fit.

The budget is the model's own context without room for the answer, by the providers' estimate of tokens. Where the branch is
longer, its oldest turns are summarised by a model (`chat.generations.summarising`), unless the room says otherwise or that
fails: then they are left out. Deleted messages are told to nobody.
"""

import uuid
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from chat import selectors, tree
from chat.answering import Question, Turn, answering
from chat.bounds import (
    CONTEXT_BYTES_READ_MAX,
    CONTEXT_CHARS_PER_TOKEN,
    CONTEXT_MESSAGES_MAX,
    CONTEXT_SHARE_FOR_ANSWER,
    CONTEXT_SHARE_FOR_SUMMARY,
    CONTEXT_TOKENS_UNKNOWN,
    SUMMARY_TOKENS_MAX,
    SUMMARY_TOKENS_MIN,
)
from chat.generations.files import weight, with_files
from chat.generations.leases import Claimed
from chat.generations.summarising import Oldest, summarise
from chat.selectors import Spoken, Terms
from chat.shapes import ContextShape, SummaryShape
from chat.store import Connection, transaction
from chat.tree import Step
from kernel.errors import Conflict, NotFound
from tenants.principals import Principal

SEVERAL_PEOPLE = "Several people write in this conversation. Each of their messages begins with who wrote it."
SUMMARISED = "What was said before, in short:\n\n"
NOBODY = "Somebody"


class Told(msgspec.Struct, frozen=True):
    """A turn of the branch, and which message it is. A late answer stands `at` its question, any
    other message at its own place."""

    message: Spoken
    at: uuid.UUID
    turn: Turn


class Branch(msgspec.Struct, frozen=True):
    """The end of a branch that leads to a question, oldest first: what follows its `summary`, which stands for the rest.
    `unread` counts messages that are older than what can be read at once. `named` says that several people speak, each by
    name."""

    summary: SummaryShape | None
    turns: tuple[Told, ...]
    unread: int
    named: bool = False


async def question_of(
    generation_id: uuid.UUID, claimed: Claimed, *, principal: Principal
) -> tuple[Question, ContextShape | None]:
    """The question that a generation puts to its model, and what of its branch that isn't told word for word, if any.

    Raises `NotFound` when the room is gone, and `Conflict` when the message was deleted.
    """
    window = await answering().window(principal=principal, alias=claimed.model)
    context_tokens = window.tokens or CONTEXT_TOKENS_UNKNOWN
    terms, branch = await _read(principal, claimed)
    for_answer = min(window.answer_tokens, context_tokens // CONTEXT_SHARE_FOR_ANSWER)
    budget = context_tokens - for_answer - answering().tokens_of("\n".join(notes_of(terms, branch)))
    first = first_that_fits(branch.turns, budget=budget)
    if first > 0 and terms.summaries:
        earlier = branch.summary
        turns = oldest(branch.turns, until=first_that_fits(branch.turns, budget=budget // 2))
        # All who are asked in the room wait for the one summary: none of them keeps the branch meanwhile.
        del branch
        made = await summarise(
            principal=principal,
            room_id=claimed.room_id,
            alias=claimed.model,
            leaf=claimed.prompt_id,
            earlier=earlier,
            turns=turns,
            tokens_max=max(SUMMARY_TOKENS_MIN, min(SUMMARY_TOKENS_MAX, budget // CONTEXT_SHARE_FOR_SUMMARY)),
        )
        terms, branch = await _read(principal, claimed)
        if made is not None:
            budget -= answering().tokens_of(made.text)
        first = first_that_fits(branch.turns, budget=budget)
    fitting = branch.turns[first:]
    turns_told = await with_files(
        tuple(told.turn for told in fitting),
        [told.message for told in fitting],
        principal=principal,
        alias=claimed.model,
        budget_chars=budget * CONTEXT_CHARS_PER_TOKEN,
    )
    context = ContextShape(summary=branch.summary.id if branch.summary else None, left_out=first + branch.unread)
    question = Question(
        principal=principal,
        request_id=claimed.request_id,
        generation_id=generation_id,
        room_id=claimed.room_id,
        room_title=terms.title,
        alias=claimed.model,
        instructions=terms.instructions,
        parameters=terms.parameters,
        notes=notes_of(terms, branch)[1:],
        turns=turns_told,
        anew=claimed.anew,
    )
    return question, context if context != ContextShape() else None


def first_that_fits(turns: Sequence[Told], *, budget: int) -> int:
    """Where the latest turns begin that fit in so many tokens. The last, the question itself, is always among them."""
    left = budget
    for index in range(len(turns) - 1, -1, -1):
        told = turns[index]
        left -= answering().tokens_of(told.turn.text)
        left -= (weight(told.message) - len(told.message.text)) // CONTEXT_CHARS_PER_TOKEN
        if left < 0:
            return min(index + 1, len(turns) - 1)
    return 0


def oldest(turns: Sequence[Told], *, until: int) -> Oldest | None:
    """The turns before `until`, and the late answers that stand at the last of them; None where that is none."""
    while 0 < until < len(turns) - 1 and turns[until].at == turns[until - 1].at:
        until += 1
    if until <= 0:
        return None
    told = turns[:until]
    return Oldest(
        lines=tuple(f"Answer: {one.turn.text}" if one.turn.role == "assistant" else one.turn.text for one in told),
        told={one.message.id: one.message.edited_at for one in told},
        until=told[-1].at,
    )


def notes_of(terms: Terms, branch: Branch) -> tuple[str, ...]:
    """What a model is told before the turns: the room's instructions, then what else it must know."""
    names = (SEVERAL_PEOPLE,) if branch.named else ()
    before = (SUMMARISED + branch.summary.text,) if branch.summary else ()
    return (terms.instructions, *names, *before)


async def _read(principal: Principal, claimed: Claimed) -> tuple[Terms, Branch]:
    async with transaction(principal.tenant_id) as connection:
        room = await selectors.room(connection, claimed.room_id)
        if room is None:
            raise NotFound
        terms = await selectors.terms_of_room(connection, room, membership_id=principal.membership_id)
        branch = await _read_branch(connection, claimed, shared=terms.kind == "shared")
    if not branch.turns or branch.turns[-1].message.id != claimed.prompt_id:
        raise Conflict("The message was deleted.", details={"reason": "deleted"})
    return terms, branch


async def _read_branch(connection: Connection, claimed: Claimed, *, shared: bool) -> Branch:
    kept = await selectors.summary_on_path(connection, room_id=claimed.room_id, leaf=claimed.prompt_id)
    longest = min(CONTEXT_MESSAGES_MAX, kept.length) if kept else CONTEXT_MESSAGES_MAX
    path = await tree.path_to(connection, room_id=claimed.room_id, leaf=claimed.prompt_id, limit=longest)
    summary = kept.summary if kept else None
    steps = list(path.steps)
    if summary is not None:
        # What stands at the last message that it stands for went into it, too.
        covered = [place for place, step in enumerate(steps) if _at(step) == summary.until]
        steps = steps[covered[-1] + 1 :] if covered else steps
    unread = len(steps) - _readable(steps)
    found = await selectors.spoken(connection, [step.id for step in steps[unread:]])
    turns = [_told(found[step.id], at=_at(step)) for step in steps[unread:] if step.id in found]
    people = {(told.message.author.id, told.message.author.name) for told in turns if not told.message.author.answers}
    named = shared and (len(people) > 1 or summary is not None)
    if named:
        turns = [_by_name(told) for told in turns]
    return Branch(summary=summary, turns=tuple(turns), unread=unread, named=named)


def _readable(steps: Sequence[Step]) -> int:
    """How many of the last steps may be read at once, by their size: one at least."""
    left = CONTEXT_BYTES_READ_MAX
    for count, step in enumerate(reversed(steps)):
        left -= step.size
        if left < 0:
            return max(1, count)
    return len(steps)


def _at(step: Step) -> uuid.UUID:
    return step.parent if step.late and step.parent is not None else step.id


def _told(message: Spoken, *, at: uuid.UUID) -> Told:
    role: Literal["assistant", "user"] = "assistant" if message.author.answers else "user"
    return Told(message=message, at=at, turn=Turn(role=role, text=message.text))


def _by_name(told: Told) -> Told:
    author = told.message.author
    if author.answers:
        return told
    return replace(told, turn=Turn(role="user", text=f"{author.name or NOBODY}: {told.message.text}"))
