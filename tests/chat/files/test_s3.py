"""Files in a bucket, by the protocol of S3 itself: put whole and in parts, read, deleted."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from config.env import read_env
from config.files import file_storage
from kernel.objects import object_storage
from tests.chat.files.support import call, follow, link, uploaded
from tests.support.cast import Company

BUCKET, KEY, SECRET = "parley-files", "AKIAOFMOTO", "secret-of-moto"


@pytest.fixture
def bucket(settings: Any) -> Iterator[Any]:
    """Where files are kept for a while; boto3's own view of it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    said = {
        "parley_files_bucket": BUCKET,
        "parley_files_endpoint": f"http://{host}:{port}",
        "parley_files_access_key": KEY,
        "parley_files_secret_key": SecretStr(SECRET),
    }
    settings.STORAGES = {
        **settings.STORAGES,
        "files": file_storage(read_env().model_copy(update=said), Path("nowhere")),
    }
    theirs = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    found = boto3.resource("s3", endpoint_url=f"http://{host}:{port}", **theirs).Bucket(BUCKET)
    found.create()
    yield found
    server.stop()


async def test_a_file_is_kept_in_a_bucket_in_parts_comes_back_and_goes(company: Company, bucket: Any) -> None:
    small = b"a line of text\n"
    large = b"".join(secrets.token_hex(64).encode() + b"\n" for _ in range(90_000))
    assert len(large) > 10 * 1024 * 1024
    for content in (small, large):
        made = await uploaded(company.alice, content, name="lines.txt")
        name = f"{company.id}/attachments/{made['id']}/content"
        kept = bucket.Object(name).get()
        assert kept["Body"].read() == content
        # A store names what came in parts by their number.
        assert ("-" in kept["ETag"]) == (content is large)
        answer = await follow(await link(company.alice, made["id"]))
        assert (answer.status_code, answer.content) == (200, content)
        assert (await call(company.alice, "DELETE", f"attachments/{made['id']}")).status_code == 204
        assert not object_storage().exists(name)
    assert list(bucket.objects.all()) == []


async def test_what_a_bucket_lost_is_not_found(company: Company, bucket: Any) -> None:
    made = await uploaded(company.alice, b"soon lost")
    url = await link(company.alice, made["id"])
    bucket.objects.all().delete()
    assert (await follow(url)).status_code == 404
