"""Files: what people may send is taken in and made harmless; what they may not is refused, and named."""

import io
import secrets
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction as django_transaction
from PIL import Image

from chat.attachment_models import Attachment
from chat.files import reader, sandbox
from chat.files.bounds import ATTACHMENT_BYTES_MAX
from chat.files.sniffing import LABELS
from chat.files.upkeep import delete_expired_attachments
from kernel.objects import object_name, object_storage
from tests.chat.files.support import (
    CAMERA,
    LEFT_RED,
    by_query,
    call,
    follow,
    link,
    pdf,
    picture,
    png_of,
    telling_exif,
    upload,
    uploaded,
    zipped,
)
from tests.isolation.roles import administrator
from tests.support.cast import Company

SVG = b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
BOMB = zipped(zeros=b"\0" * 20_000_000)
MACROS = {"[Content_Types].xml": b"<Types/>", "word__vbaProject.bin": b"\xd0\xcf"}


async def test_text_comes_back_byte_for_byte(company: Company) -> None:
    content = "def grüße():\n    return '✓'\n".encode()
    made = await uploaded(company.alice, content, name="../../sag\u202ehallo.py", media_type="text/x-python")
    assert (made["kind"], made["name"], made["size"]) == ("text", "saghallo.py", len(content))
    assert (made["room"], made["message"]) == (None, None)
    assert (await call(company.alice, "GET", f"attachments/{made['id']}")).json() == made
    answer = await follow(await link(company.alice, made["id"]))
    assert (answer.status_code, answer.content) == (200, content)
    expected = {
        "content-disposition": 'attachment; filename="saghallo.py"',
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-store",
        "cross-origin-resource-policy": "same-origin",
    }
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert {name: headers.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "name", "kept"),
    [
        ("JPEG", "holiday.jpeg", "JPEG"),
        ("PNG", "shot.png", "PNG"),
        ("WEBP", "w.webp", "JPEG"),
        ("GIF", "g.gif", "PNG"),
        ("HEIF", "phone.heic", "JPEG"),
    ],
)
async def test_an_image_is_written_anew_upright_and_tells_nothing(
    company: Company, kind: str, name: str, kept: str
) -> None:
    exif = None if kind == "GIF" else telling_exif(orientation=6)
    sent = picture(kind, size=(640, 320), exif=exif)
    assert exif is None or CAMERA.encode() in sent
    made = await uploaded(company.alice, sent, name=name)
    assert made["kind"] == "image"
    assert made["name"].rpartition(".")[2] in {"JPEG": ("jpg", "jpeg"), "PNG": ("png",)}[kept]
    answer = await follow(await link(company.alice, made["id"]))
    assert answer.headers.get("Content-Type") == made["media_type"] == f"image/{kept.lower()}"
    assert CAMERA.encode() not in answer.content
    image = Image.open(io.BytesIO(answer.content))
    assert image.format == kept
    assert not image.getexif()
    assert image.size == (made["width"], made["height"]) == ((640, 320) if exif is None else (320, 640))
    red = image.convert("RGB").getpixel((20, 20))
    assert isinstance(red, tuple)
    assert all(abs(a - b) < 30 for a, b in zip(red, LEFT_RED, strict=True)), red
    small = await follow(await link(company.alice, made["id"], "preview"))
    assert small.headers.get("Content-Disposition", "").startswith("inline")
    assert max(Image.open(io.BytesIO(small.content)).size) == 512


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "an SVG": (SVG, "logo.svg", "svg"),
    "an SVG that says it is a PNG": (SVG, "logo.png", "svg"),
    "an SVG without script": (b"<svg/>", "a.txt", "svg"),
    "a page": (b"\n<!-- hi --><!DOCTYPE html><p>x", "page.txt", "html"),
    "a script in a page": (b"<script>alert(1)</script>", "x.md", "html"),
    "a zip bomb": (BOMB, "reports.zip", "zip"),
    "a zip bomb that says it is an image": (BOMB, "cat.png", "zip"),
    "macros": (zipped(**MACROS), "budget.docm", "office_macros"),
    "an old Office document": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "a.doc", "office"),
    "a program of Windows": (b"MZ\x90\x00\x03\0\0\0", "setup.exe", "executable"),
    "a program of Linux": (b"\x7fELF\x02\x01\x01\0", "run", "executable"),
    "a gzip": (b"\x1f\x8b\x08\0\0\0", "x.txt", "archive"),
    "a tar": (b"a" * 257 + b"ustar\x0000" + b"\0" * 300, "x.txt", "archive"),
    "a film": (b"\0\0\0\x18ftypisom\0\0\0\0", "x.mp4", "media"),
    "an AVIF": (b"\0\0\0\x18ftypavif\0\0\0\0mif1", "x.heic", "image"),
    "noise": (b"\x00\x01\x02\xff\xfe", "x.txt", "binary"),
    "nothing": (b"", "x.txt", "empty"),
    "a text that is none": (b"\xc3\x28 latin", "x.txt", "binary"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_taken_is_refused_by_name(company: Company, what: str) -> None:
    content, name, found = REFUSED[what]
    refused = await upload(company.alice, content, name=name)
    assert refused.status_code == 415, refused.text
    assert refused.json()["code"] == "attachment_type_refused"
    assert refused.json()["details"]["found"] == found
    assert LABELS[found] in refused.json()["message"]


@pytest.mark.parametrize(
    ("name", "media_type", "claimed"),
    [("cat.jpg", "", "jpeg"), ("cat.png", "application/pdf", "pdf"), ("cat.svg", "", "svg"), ("cat.txt", "", "text")],
)
async def test_a_file_that_lies_about_its_type_is_refused(
    company: Company, name: str, media_type: str, claimed: str
) -> None:
    refused = await upload(company.alice, picture("PNG"), name=name, media_type=media_type)
    assert (refused.status_code, refused.json()["code"]) == (415, "attachment_type_mismatch")
    assert refused.json()["details"]["claimed"] == claimed
    assert refused.json()["details"]["found"] == "png"


async def test_two_gigabytes_are_refused_before_a_byte_is_read(company: Company) -> None:
    headers = {"content-type": "multipart/form-data; boundary=form", "content-length": str(2 * 1024**3)}
    began = time.monotonic()
    refused = await call(company.alice, "POST", "attachments", b"", headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert refused.json()["details"]["bytes_max"] > ATTACHMENT_BYTES_MAX
    assert time.monotonic() - began < 5
    refused = await call(company.alice, "POST", "rooms", b"", {"content-length": str(5 * 1024**2)})
    assert refused.status_code == 413


async def test_a_body_longer_than_it_says_and_one_of_nobody_are_refused(company: Company) -> None:
    headers = {"content-type": "multipart/form-data; boundary=form", "content-length": "100"}
    refused = await call(company.alice, "POST", "attachments", b"x" * (ATTACHMENT_BYTES_MAX + 70_000), headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    refused = await call(company.alice, "POST", "attachments", b"x", headers | {"authorization": "Bearer x.y.z"})
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")


async def test_a_decompression_bomb_is_refused(company: Company) -> None:
    refused = await upload(company.alice, png_of(60_000, 60_000), name="bomb.png")
    assert (refused.status_code, refused.json()["code"]) == (400, "attachment_image_too_large")
    refused = await upload(company.alice, png_of(2_000, 2_000), name="cut.png")
    assert (refused.status_code, refused.json()["code"]) == (400, "attachment_damaged")


async def test_a_pdf_is_kept_and_its_text_is_found(company: Company) -> None:
    content = pdf("first page says alpha", "second says beta")
    made = await uploaded(company.alice, content, name="paper.pdf", media_type="application/pdf")
    assert (made["kind"], made["pages"], made["size"]) == ("pdf", 2, len(content))
    answer = await follow(await link(company.alice, made["id"]))
    assert answer.content == content
    with object_storage().open(object_name(company.id, "attachments", made["id"], "text")) as text:
        assert text.read() == b"first page says alpha\n\nsecond says beta"
    assert (await by_query(company.alice, made["id"], "preview")).status_code == 400


async def test_pdfs_that_cannot_be_read_are_refused(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, code in (
        (pdf("x", password="secret"), "attachment_encrypted"),
        (b"%PDF-1.7\nnot really", "attachment_damaged"),
        (pdf(*["x"] * (reader.PDF_PAGES_MAX + 1)), "attachment_too_many_pages"),
    ):
        refused = await upload(company.alice, content, name="a.pdf")
        assert (refused.status_code, refused.json()["code"]) == (400, code)


async def test_a_reader_that_dies_or_hangs_is_a_clear_error(
    company: Company, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    dying = tmp_path / "dying.py"
    for program in ("import os; os.kill(os.getpid(), 9)", "import time; time.sleep(600)", "raise SystemExit(3)"):
        dying.write_text(program)
        monkeypatch.setattr(sandbox, "_PROGRAM", str(dying))
        monkeypatch.setattr(sandbox, "SANDBOX_S", 1.0)
        refused = await upload(company.alice, picture(), name="a.png")
        assert (refused.status_code, refused.json()["code"]) == (400, "attachment_unreadable")


async def test_the_reader_may_take_so_much_memory(
    company: Company, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    greedy = tmp_path / "greedy.py"
    source = f"""
import sys
sys.path.insert(0, {str(reader.__file__.rpartition("/")[0])!r})
import reader
def read(kind, source, folder):
    return {{"media_type": "x" * len(bytearray(3 * 1024**3))}}
reader.read = read
sys.exit(reader.main("png", __import__("pathlib").Path(sys.argv[2])))
"""
    greedy.write_text(source)
    monkeypatch.setattr(sandbox, "_PROGRAM", str(greedy))
    refused = await upload(company.alice, picture(), name="a.png")
    assert (refused.status_code, refused.json()["code"]) == (400, "attachment_unreadable")


async def test_files_count_against_one_quota(company: Company, settings: Any) -> None:
    made = await uploaded(company.alice, b"x" * 600)
    settings.FILES_QUOTA_BYTES = 1_000
    refused = await upload(company.bob, b"y" * 600)
    assert (refused.status_code, refused.json()["code"]) == (413, "storage_quota_reached")
    assert (await call(company.alice, "DELETE", f"attachments/{made['id']}")).status_code == 204
    assert (await upload(company.bob, b"y" * 600)).status_code == 201


async def test_whose_a_file_is(company: Company, evil: Company) -> None:
    made = await uploaded(company.alice, b"mine alone")
    path = f"attachments/{made['id']}"
    url = await link(company.alice, made["id"])
    for stranger in (company.bob, evil.alice):
        for method, where in (("GET", path), ("GET", f"{path}/link"), ("DELETE", path)):
            assert (await call(stranger, method, where)).status_code == 404
    assert (await follow(url)).content == b"mine alone"
    for broken in (
        url[:-1],
        url[:-4] + "AAAA",
        url + "A",
        url.replace("downloads/", "downloads/A"),
        "/api/v1/downloads/x",
    ):
        refused = await follow(broken)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


async def test_a_link_ends(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await uploaded(company.alice, b"for a while")
    answer = await by_query(company.alice, made["id"], "download")
    url = answer.json()["url"]
    later = time.time() + 301
    monkeypatch.setattr("chat.files.links.time", type("Clock", (), {"time": staticmethod(lambda: later)}))
    assert (await follow(url)).status_code == 404
    monkeypatch.undo()
    assert (await follow(url)).status_code == 200
    await sync_to_async(dismiss)(company)
    assert (await follow(url)).status_code == 404


def dismiss(company: Company) -> None:
    """Alice is no member any more."""
    with administrator() as admin:
        admin.execute("UPDATE tenants_membership SET status = 'removed' WHERE id = %s", (company.alice.membership_id,))


async def test_what_nobody_sends_expires_with_its_bytes(company: Company) -> None:
    made = await uploaded(company.alice, picture(size=(700, 700)), name="a.png")
    folder = f"{company.id}/attachments/{made['id']}"
    assert set(object_storage().listdir(folder)[1]) == {"content", "preview"}

    @sync_to_async
    def age() -> int:
        with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
            Attachment.objects.update(expires_at=Attachment.objects.get().created_at)
        return delete_expired_attachments()

    assert await age() >= 1
    assert object_storage().listdir(folder)[1] == []
    assert (await call(company.alice, "GET", f"attachments/{made['id']}")).status_code == 404


async def test_only_so_many_wait_for_a_message(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.services.attachments.UNCLAIMED_PER_MEMBER_MAX", 1)
    await uploaded(company.alice, b"one")
    assert (await upload(company.alice, b"two")).status_code == 429
    assert (await upload(company.bob, b"two")).status_code == 201


async def test_a_form_without_one_file_is_refused(company: Company) -> None:
    kind = {"content-type": "multipart/form-data; boundary=form"}
    for body in (
        b"",
        b"--form--\r\n",
        b'--form\r\ncontent-disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--form--',
    ):
        refused = await call(company.alice, "POST", "attachments", body, kind)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request"), body
    assert (await call(company.alice, "POST", "attachments", {"file": "x"})).status_code == 415
    assert (await call(company.vera, "POST", "attachments", b"", kind)).status_code == 403


async def test_an_upload_with_a_key_is_made_once(company: Company) -> None:
    body = b'--form\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"x" * 5_000_000
    body += b"\r\n--form--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=form", "idempotency-key": secrets.token_hex(4)}
    first = await call(company.alice, "POST", "attachments", body, headers)
    again = await call(company.alice, "POST", "attachments", body, headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
