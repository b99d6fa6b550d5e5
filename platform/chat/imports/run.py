"""A worker's turn at an import: conversation by conversation, each in a transaction that also says how far it came. Whoever
goes on after it, in its next turn or after its death, begins behind the last one: none is imported twice."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from psycopg import DataError

from chat.imports import chatgpt, open_webui
from chat.imports.bounds import CONVERSATIONS_MAX, PROBLEMS_MAX, TURN_S
from chat.imports.rooms import make_room, storable
from chat.imports.scanning import Element
from chat.imports.source import decoded, elements
from chat.imports.values import BadConversation, Conversation
from chat.store import first, transaction
from chat.transfers import leases
from chat.transfers.bounds import RECORD_KEPT
from chat.transfers.leases import CantTransfer, Claimed
from chat.transfers.store import object_of
from kernel.errors import NotAuthenticated, PermissionDenied, Unavailable
from kernel.objects import opened_object
from tenants.acting import acting_principal
from tenants.epochs import Subject

log = structlog.get_logger(__name__)

TITLE_SHOWN_CHARS, MESSAGE_SHOWN_CHARS = 200, 1_000


class _Progress:
    """How far an import is: `number` is that of the last conversation that was dealt with."""

    def __init__(self, claimed: Claimed, problems: list[dict[str, Any]]) -> None:
        self.number = int(claimed.place.get("number", 0))
        self.done, self.failed = claimed.done, claimed.failed
        self.problems = problems

    def add(self, title: str, code: str, message: str) -> None:
        """Something could not be taken over. Beyond a number, it only counts."""
        if len(self.problems) < PROBLEMS_MAX:
            said = {"title": title[:TITLE_SHOWN_CHARS], "code": code, "message": message[:MESSAGE_SHOWN_CHARS]}
            told = {name: storable(text) for name, text in said.items()}
            self.problems.append({"conversation": self.number, **told})


async def import_file(claimed: Claimed) -> None:
    """Import conversations until the file ends, or this turn. Raises `CantTransfer`, `LeaseLost` and `Unavailable`."""
    await _check_member(claimed)
    progress = _Progress(claimed, await _problems(claimed))
    until = time.monotonic() + TURN_S
    opened = opened_object(object_of(claimed.tenant_id, claimed.id))
    try:
        content = await asyncio.to_thread(opened.__enter__)
    except FileNotFoundError as error:
        raise CantTransfer("import_lost", "The file is gone.") from error
    except OSError as error:
        raise Unavailable("The file can't be read now.") from error
    try:
        size = await asyncio.to_thread(_size, content)
        found = elements(content, size=size)
        behind = progress.number
        for _ in range(behind):
            if await asyncio.to_thread(_next, found) is None:
                break
        while (element := await asyncio.to_thread(_next, found)) is not None:
            if progress.number >= CONVERSATIONS_MAX:
                raise CantTransfer("import_too_large", f"An import has at most {CONVERSATIONS_MAX} conversations.")
            progress.number += 1
            await _take(claimed, element, progress)
            if time.monotonic() > until:
                await leases.release(claimed)
                return
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
    await _end(claimed, progress)


async def _take(claimed: Claimed, element: Element, progress: _Progress) -> None:
    """Import one conversation, or say why it can't be."""
    title = ""
    try:
        conversation = await asyncio.to_thread(_conversation, element)
        title = conversation.title
        async with transaction(claimed.tenant_id) as connection:
            made = await make_room(
                connection, conversation, tenant_id=claimed.tenant_id, membership_id=claimed.membership_id
            )
            if made.skipped:
                progress.add(title, "skipped", f"Not imported: {', '.join(made.skipped)}.")
            progress.done += 1
            await _advance(connection, claimed, progress)
    except (BadConversation, DataError) as error:
        bad = error if isinstance(error, BadConversation) else BadConversation("damaged", "It can't be kept.")
        progress.failed += 1
        progress.add(title, bad.code, bad.message)
        async with transaction(claimed.tenant_id) as connection:
            await _advance(connection, claimed, progress)


async def _advance(connection: Any, claimed: Claimed, progress: _Progress) -> None:
    await leases.advance(
        connection,
        claimed,
        place={"number": progress.number},
        done=progress.done,
        failed=progress.failed,
        problems=progress.problems,
    )


async def _end(claimed: Claimed, progress: _Progress) -> None:
    if progress.number == 0:
        raise CantTransfer("import_without_conversations", "The file holds no conversations.")
    removed = await leases.remove_file(claimed)
    async with transaction(claimed.tenant_id) as connection:
        row = await first(connection, _SIZE, (claimed.id,))
    size = 0 if removed or row is None else row["size"]
    await leases.complete(claimed, total=progress.number, done=progress.done, size=size, kept=RECORD_KEPT)


_SIZE = "SELECT size FROM chat_transfer WHERE id = %s"


def _conversation(element: Element) -> Conversation:
    if element.problem == "too_large":
        raise BadConversation("too_large", "The conversation is too large.")
    if element.problem:
        raise BadConversation("too_deep", "The conversation is nested too deep.")
    try:
        found = decoded(element)
    except ValueError as error:
        raise BadConversation("damaged", "The conversation is no JSON.") from error
    if not isinstance(found, Mapping):
        raise BadConversation("unknown_format", "This is no conversation.")
    return chatgpt.read(found) if "mapping" in found else open_webui.read(found)


async def _check_member(claimed: Claimed) -> None:
    """Raises `CantTransfer` for a member who may not import any more."""
    try:
        member = await acting_principal(Subject(tenant_id=claimed.tenant_id, membership_id=claimed.membership_id))
        member.require("rooms.import")
    except (NotAuthenticated, PermissionDenied) as error:
        raise CantTransfer("not_allowed", "You may not import any more.") from error


async def _problems(claimed: Claimed) -> list[dict[str, Any]]:
    async with transaction(claimed.tenant_id) as connection:
        row = await first(connection, "SELECT problems FROM chat_transfer WHERE id = %s", (claimed.id,))
    return list(row["problems"]) if row else []


def _size(content: Any) -> int:
    return int(content.seek(0, 2))


def _next(found: Iterator[Element]) -> Element | None:
    return next(found, None)
