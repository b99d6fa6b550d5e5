"""Files, exports and imports on the running platform: models see what was sent, workers write and read whole rooms."""

import http.client
import io
import json
from contextlib import closing
from typing import Any

import httpx2 as httpx
import pytest
from pypdf import PdfReader

from tests.chat.files.export_files import archive, as_json, branched
from tests.chat.files.support import pdf, picture
from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

BLIND = "blind"
WORKED_S = 30.0


@pytest.fixture
def rest(stack: Stack, tenant: Tenant) -> Any:
    with closing(stack.client(stack.sign_in(tenant.owner, tenant.password)["access"])) as client:
        yield client


def made(answer: httpx.Response, status: int = 201) -> dict[str, Any]:
    """What a call answered, which had to succeed."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def upload(
    rest: httpx.Client, content: bytes, name: str, path: str = "attachments", status: int = 201
) -> dict[str, Any]:
    return made(rest.post(f"/api/v1/{path}", files={"file": (name, content)}), status)


def ended(rest: httpx.Client, generation: dict[str, Any]) -> dict[str, Any]:
    """An answer, once it has ended."""

    def look() -> dict[str, Any] | None:
        found = rest.get(f"/api/v1/generations/{generation['id']}").json()
        return found if found["finished_at"] else None

    found: dict[str, Any] = eventually(look, within_s=WORKED_S)
    return found


def worked(rest: httpx.Client, path: str) -> dict[str, Any]:
    """An export or import, once a worker is done with it."""

    def look() -> dict[str, Any] | None:
        found = rest.get(f"/api/v1/{path}").json()
        return found if found["state"] in ("complete", "failed") else None

    found: dict[str, Any] = eventually(look, within_s=WORKED_S)
    return found


def test_a_model_sees_what_was_sent_and_one_that_cannot_refuses_by_name(
    stack: Stack, rest: httpx.Client, upstream: OpenAIUpstream
) -> None:
    room = made(rest.post("/api/v1/rooms", json={"title": "Files", "kind": "private"}))["id"]
    image = upload(rest, picture(size=(300, 200)), "cat.png")["id"]
    paper = upload(rest, pdf("the heron stands in the reeds"), "birds.pdf")["id"]
    body = {"text": "What is this?", "model": MODEL, "attachments": [image, paper]}
    sent = made(rest.post(f"/api/v1/rooms/{room}/messages", json=body))
    answer = ended(rest, sent["generation"])
    assert answer["status"] == "complete", answer
    (asked,) = [record for record in upstream.records if "heron" in json.dumps(record.body)]
    content = asked.body["messages"][-1]["content"]
    (shown,) = [part for part in content if part["type"] == "image_url"]
    assert shown["image_url"]["url"].startswith("data:image/png;base64,")
    assert content[-1]["text"] == "What is this?"
    stack.add_model(BLIND, upstream.base_url, upstream="llama-3.3-70b")
    sent = made(rest.post(f"/api/v1/rooms/{room}/messages", json=body | {"model": BLIND, "attachments": []}))
    # What was shown before is only named to it.
    assert ended(rest, sent["generation"])["status"] == "complete"
    again = upload(rest, picture(size=(300, 200)), "cat.png")["id"]
    sent = made(rest.post(f"/api/v1/rooms/{room}/messages", json=body | {"model": BLIND, "attachments": [again]}))
    refused = ended(rest, sent["generation"])
    assert refused["status"] == "failed"
    assert "images" in refused["error"]["message"]


def test_two_gigabytes_by_header_are_refused_at_once(stack: Stack, rest: httpx.Client) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", stack.port, timeout=5)) as connection:
        connection.putrequest("POST", "/api/v1/attachments")
        connection.putheader("Authorization", rest.headers["authorization"])
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", str(2 * 1024**3))
        connection.endheaders()
        # Nothing of the body is sent.
        refused = connection.getresponse()
        assert (refused.status, json.loads(refused.read())["code"]) == (413, "payload_too_large")


def test_workers_import_and_export_rooms(rest: httpx.Client) -> None:
    began = upload(rest, archive({"conversations.json": as_json(branched())}), "export.zip", "imports", 202)
    done = worked(rest, f"imports/{began['id']}")
    assert (done["state"], done["done"], done["failed"]) == ("complete", 1, 0), done
    room = rest.get("/api/v1/rooms").json()["data"][0]
    assert room["title"] == branched()["title"]
    files: dict[str, bytes] = {}
    path = f"/api/v1/rooms/{room['id']}/exports"
    exports = {one: made(rest.post(path, json={"format": one}), 202) for one in ("json", "markdown", "pdf")}
    for format_, export in exports.items():
        done = worked(rest, f"exports/{export['id']}")
        assert (done["state"], done["error"]) == ("complete", None)
        link = rest.get(f"/api/v1/exports/{export['id']}/link").json()["url"]
        answer = httpx.get(str(rest.base_url).rstrip("/") + link)
        assert answer.headers["content-security-policy"].startswith("sandbox")
        files[format_] = answer.content
    assert len(json.loads(files["json"])["messages"]) == 6
    assert "Where to?" in files["markdown"].decode()
    assert "Where to?" in "".join(page.extract_text() for page in PdfReader(io.BytesIO(files["pdf"])).pages)
