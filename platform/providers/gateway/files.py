"""`/v1/files`: to upload a file, to list one's files, to look at one, to read it, to delete it."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from kernel.errors import InvalidRequest
from providers.batches import files
from providers.batches.bounds import KEPT_MAX_S, KEPT_MIN_S
from providers.batches.files import StoredFile
from providers.batches.forms import file_id, file_name
from providers.batches.models import PURPOSES
from providers.gateway.http import Request, Responder, whole_number
from providers.gateway.multipart import received_form
from providers.gateway.query import choice, limit, one, read_query
from tenants.principals import Principal

PAGE = 100
LIMIT_MAX = 10_000
"""What OpenAI's clients may ask for; a page has `PAGE` at most all the same."""


async def upload_file(request: Request, responder: Responder, principal: Principal) -> None:
    """Store a file."""
    # So that nobody sends what can't be kept; what the size really is, is looked at when it is known.
    await files.check_quota(principal.tenant_id, size=0)
    async with received_form(request) as form:
        if form.fields.get("purpose") != "batch":
            raise files.bad_purpose()
        file = await files.create_file(
            principal=principal,
            purpose="batch",
            name=form.name,
            content=form.content,
            size=form.size,
            kept=_kept(form.fields),
        )
    await responder.whole(200, msgspec.json.encode(_said(file)))


async def list_files(request: Request, responder: Responder, principal: Principal) -> None:
    """The caller's files, newest first unless `order` is `asc`."""
    asked = read_query(request)
    count = min(PAGE, limit(asked, default=PAGE, most=LIMIT_MAX))
    purpose = one(asked, "purpose")
    after = one(asked, "after")
    found = await files.list_files(
        principal=principal,
        purpose=None if purpose is None else choice(asked, "purpose", PURPOSES),
        after=None if after is None else read_after(file_id(after)),
        order="asc" if choice(asked, "order", ("desc", "asc")) == "asc" else "desc",
        limit=count + 1,
    )
    page = [_said(file) for file in found[:count]]
    await responder.whole(200, encode_page(page, has_more=len(found) > count))


async def retrieve_file(request: Request, responder: Responder, principal: Principal) -> None:
    """One file, without what is in it. Raises `FileNotThere`."""
    await responder.whole(200, msgspec.json.encode(_said(await _accessed(request, principal))))


async def read_content(request: Request, responder: Responder, principal: Principal) -> None:
    """What is in a file. Raises `FileNotThere`."""
    file = await _accessed(request, principal)
    pieces = files.read_file(file)
    first = await anext(pieces, b"")
    await responder.begin_file(size=file.size, name=file.name)
    if first:
        await responder.chunk(first)
    async for piece in pieces:
        await responder.chunk(piece)
    await responder.end_stream()


async def delete_file(request: Request, responder: Responder, principal: Principal) -> None:
    """Delete a file. Raises `FileNotThere`."""
    name = _name(request)
    await files.delete_file(principal=principal, file_id=file_id(name))
    await responder.whole(200, msgspec.json.encode({"id": name, "object": "file", "deleted": True}))


def encode_page(page: list[dict[str, object]], *, has_more: bool) -> bytes:
    """A page of things that have an id, as OpenAI's clients read it."""
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return msgspec.json.encode(
        {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": has_more}
    )


def read_after(named: uuid.UUID | None) -> uuid.UUID:
    """The thing after which a page begins. Raises InvalidRequest for a name that can't be one."""
    if named is None:
        raise InvalidRequest("`after` is the id of the last thing of the page before.", details={"param": "after"})
    return named


def _kept(fields: Mapping[str, str]) -> timedelta | None:
    """`expires_after`: how long the file is to be kept; for good, if it isn't said."""
    said = fields.get("expires_after[seconds]")
    if said is None:
        return None
    if fields.get("expires_after[anchor]") != "created_at":
        raise InvalidRequest("`expires_after[anchor]` is `created_at`.", details={"param": "expires_after"})
    kept_s = whole_number(said, least=KEPT_MIN_S, most=KEPT_MAX_S)
    if kept_s is None:
        raise InvalidRequest(
            f"`expires_after[seconds]` is a number from {KEPT_MIN_S} to {KEPT_MAX_S}.",
            details={"param": "expires_after"},
        )
    return timedelta(seconds=kept_s)


def _name(request: Request) -> str:
    return request.path.removeprefix("/v1/files/").removesuffix("/content")


async def _accessed(request: Request, principal: Principal) -> StoredFile:
    return await files.access_file(principal=principal, file_id=file_id(_name(request)))


def _said(file: StoredFile) -> dict[str, object]:
    return {
        "id": file_name(file.id),
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()) if file.expires_at else None,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
