"""Files in a bucket: by the same calls as those in a folder."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.env import Env, read_env
from config.files import file_storage
from kernel.objects import object_storage
from tests.fakes.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.providers.batches.conftest import Caller

FOLDER = Path("nowhere")


def said(store: S3Server, **changes: Any) -> Env:
    """An environment that names the bucket."""
    return read_env().model_copy(
        update={
            "parley_files_bucket": BUCKET,
            "parley_files_endpoint": store.url,
            "parley_files_prefix": "house/",
            "parley_files_access_key": ACCESS_KEY,
            "parley_files_secret_key": SecretStr(SECRET_KEY),
            **changes,
        }
    )


@pytest.fixture
def store(settings: Any) -> Iterator[S3Server]:
    """A store, where files are kept for a while."""
    with S3Server() as server:
        settings.STORAGES = {**settings.STORAGES, "files": file_storage(said(server), FOLDER)}
        yield server


async def test_what_is_uploaded_is_in_the_bucket_comes_back_and_goes(caller: Caller, store: S3Server) -> None:
    content = secrets.token_bytes(5 * 1024 * 1024 + 1)
    file = (await caller.upload(content)).json()
    ((key, kept),) = store.objects.items()
    assert key.startswith(f"house/{caller.company.id}/files/")
    assert kept == content
    read = await caller.call("GET", f"files/{file['id']}/content")
    assert (read.status_code, read.content) == (200, content)
    assert (await caller.call("DELETE", f"files/{file['id']}")).status_code == 200
    assert (store.objects, store.refused) == ({}, 0)


def test_what_is_not_there_is_a_file_not_found(store: S3Server) -> None:
    assert not object_storage().exists("t/files/none")
    with pytest.raises(FileNotFoundError), object_storage().open("t/files/none", "rb") as nothing:
        nothing.read()
    assert store.asked[0] == ("HEAD", "house/t/files/none")


async def test_a_store_that_refuses_is_an_error_and_nothing_is_listed(
    caller: Caller, store: S3Server, settings: Any
) -> None:
    theirs = said(store, parley_files_access_key="AKIASOMEBODY")
    settings.STORAGES = {**settings.STORAGES, "files": file_storage(theirs, FOLDER)}
    refused = await caller.upload("{}")
    assert refused.status_code == 503
    assert SECRET_KEY not in refused.text
    assert (store.objects, store.refused > 0) == ({}, True)
    assert (await caller.call("GET", "files")).json()["data"] == []


@pytest.mark.no_database
def test_without_a_bucket_files_are_in_the_folder() -> None:
    found = file_storage(read_env(), FOLDER)
    assert found == {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": FOLDER},
    }
