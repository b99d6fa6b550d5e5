"""Files: what is uploaded comes back byte for byte, within bounds, to whoever uploaded it."""

import asyncio
import itertools
import secrets
import tracemalloc
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from kernel.errors import InvalidRequest
from kernel.objects import object_storage
from providers.batches.upkeep import delete_expired_files
from providers.gateway.http import Request
from providers.gateway.multipart import received_form
from tests.isolation.roles import administrator
from tests.providers.batches.conftest import Caller


async def test_what_is_uploaded_comes_back_byte_for_byte(caller: Caller) -> None:
    content = secrets.token_bytes(3 * 1024 * 1024) + b"\r\n--for"
    made = await caller.upload(content, name="ünï.jsonl")
    assert made.status_code == 200, made.text
    file = made.json()
    assert (file["object"], file["bytes"], file["purpose"]) == ("file", len(content), "batch")
    assert (file["filename"], file["expires_at"]) == ("ünï.jsonl", None)
    read = await caller.call("GET", f"files/{file['id']}/content")
    assert read.content == content
    assert read.headers["content-length"] == str(len(content))
    assert (await caller.call("GET", f"files/{file['id']}")).json() == file


async def test_an_upload_is_never_wholly_in_memory() -> None:
    piece, pieces = b"x" * 65_536, 640
    head = b'--form\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = iter([head, *itertools.repeat(piece, pieces), b"\r\n--form--\r\n", b""])

    async def receive() -> dict[str, Any]:
        part = next(body)
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    sent = Request("POST", "/v1/files", {"content-type": "multipart/form-data; boundary=form"}, "", receive)
    tracemalloc.start()
    try:
        async with received_form(sent) as form:
            _, peak = tracemalloc.get_traced_memory()
            assert form.size == len(piece) * pieces
            form.content.seek(0)
            assert form.content.read(70_000) == b"x" * 70_000
    finally:
        tracemalloc.stop()
    assert peak < 10 * 1024 * 1024 < form.size


async def test_an_upload_that_stops_is_given_up(settings: Any) -> None:
    settings.UPLOAD_WAIT_S = 0.01

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    sent = Request("POST", "/v1/files", {"content-type": "multipart/form-data; boundary=form"}, "", receive)
    with pytest.raises(InvalidRequest, match="Nothing more"):
        async with received_form(sent):
            pass


async def test_a_deleted_file_is_gone_with_its_bytes(caller: Caller) -> None:
    name = (await caller.upload("{}")).json()["id"]
    folder = f"{caller.company.id}/files"
    assert len(object_storage().listdir(folder)[1]) == 1
    gone = await caller.call("DELETE", f"files/{name}")
    assert gone.json() == {"id": name, "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert (await caller.call(method, f"files/{name}{path}")).status_code == 404
    assert object_storage().listdir(folder)[1] == []


async def test_files_are_listed_by_pages(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [(await caller.upload("{}")).json()["id"] for _ in range(3)]
    listed = (await caller.call("GET", "files")).json()
    assert [file["id"] for file in listed["data"]] == made[::-1]
    assert (listed["object"], listed["has_more"]) == ("list", False)
    assert (listed["first_id"], listed["last_id"]) == (made[2], made[0])


async def test_a_file_is_kept_as_long_as_was_asked(caller: Caller) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = (await caller.upload("{}", fields=fields)).json()
    assert file["expires_at"] == file["created_at"] + 3600
    fields["expires_after[seconds]"] = "5"
    assert (await caller.upload("{}", fields=fields)).status_code == 400


async def test_files_whose_owner_has_gone_are_deleted_after_a_week(caller: Caller) -> None:
    """Nobody else could, and they count."""

    @sync_to_async
    def upkeep(*, later: bool = False) -> None:
        if later:
            with administrator() as admin:
                admin.execute("UPDATE providers_file SET expires_at = expires_at - interval '7 days 1 second'")
        delete_expired_files()

    company = caller.company
    mine = (await caller.upload("{}")).json()["id"]
    other = await sync_to_async(company.alice.client.post)("/api/v1/api-keys", {"name": "other"}, format="json")
    left = (await Caller(company, other.json()["secret"], caller.model).upload("{}")).json()["id"]
    await upkeep()
    assert (await caller.call("GET", f"files/{mine}")).json()["expires_at"] is None
    await sync_to_async(company.alice.client.delete)(f"/api/v1/api-keys/{other.json()['key']['id']}")
    await upkeep()
    assert len(object_storage().listdir(f"{company.id}/files")[1]) == 2
    await upkeep(later=True)
    (kept,) = object_storage().listdir(f"{company.id}/files")[1]
    assert UUID(kept).hex == mine.removeprefix("file-") != left
    assert (await caller.call("GET", f"files/{mine}")).json()["expires_at"] is None


async def test_a_file_may_be_so_large(caller: Caller, settings: Any) -> None:
    settings.FILE_MAX_BYTES = 1_000
    assert (await caller.upload(b"x" * 1_000)).status_code == 200
    refused = await caller.upload(b"x" * 1_001)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "payload_too_large")
    refused = await caller.upload(b"x" * 100_000)
    assert refused.status_code == 413


async def test_a_tenant_s_files_hold_so_much(caller: Caller, settings: Any) -> None:
    settings.FILES_QUOTA_BYTES = 2_000
    name = (await caller.upload(b"x" * 1_500)).json()["id"]
    refused = await caller.upload(b"x" * 501)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "storage_quota_reached")
    assert (await caller.call("DELETE", f"files/{name}")).status_code == 200
    assert (await caller.upload(b"x" * 501)).status_code == 200
    settings.FILES_PER_TENANT_MAX = 1
    assert (await caller.upload(b"x")).status_code == 413


async def test_a_form_that_is_none_is_refused(caller: Caller) -> None:
    refused = await caller.call("POST", "files", {"purpose": "batch"}, {"content-type": "application/json"})
    assert refused.status_code == 415
    kind = {"content-type": "multipart/form-data; boundary=form"}
    for body in (b"", b"nonsense", b"--form--\r\n"):
        refused = await caller.call("POST", "files", body, kind)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    refused = await caller.call("POST", "files", b"x", {"content-type": "multipart/form-data"})
    assert refused.status_code == 400
    refused = await caller.upload("{}", fields={"purpose": "fine-tune"})
    assert refused.json()["error"]["param"] == "purpose"
    assert (await caller.call("GET", "files")).json()["data"] == []
