"""What `DATABASE_URL` says of a connection (`sslmode`, `sslrootcert`, …) holds for every connection that is made of it."""

import asyncio

import pytest
from django.db import connections

from config.databases import DatabaseUrls, django_databases
from kernel import adb

NAME = "said-by-the-url"


def test_the_pool_and_the_line_connect_as_the_url_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "application_name", NAME)

    async def names() -> list[str]:
        async with adb.tenantless() as connection:
            pooled = await (await connection.execute("SELECT current_setting('application_name') AS name")).fetchone()
        [[of_line]] = await adb.line("test").run(b"SELECT current_setting('application_name')", ())
        await adb.close()
        return [str((pooled or {}).get("name")), (of_line or b"").decode()]

    assert asyncio.run(names()) == [NAME, NAME]


def test_a_server_that_has_to_prove_itself_has_to_for_asynchronous_code_too(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://parley_app:secret@db.example/parley?sslmode=verify-full&sslrootcert=/etc/ca.pem"
    known = django_databases(DatabaseUrls(main=url), conn_max_age_s=0)["default"]
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", known["OPTIONS"])
    given = adb._connect_kwargs("default")
    assert (given["sslmode"], given["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
