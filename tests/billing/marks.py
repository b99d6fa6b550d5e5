"""Rollups take in what no open transaction is older than: that of another test's server process counts too."""

import time

from tests.isolation.roles import administrator

WAIT_S = 20.0


def others_ended() -> None:
    """Wait until every transaction that runs now has ended, whosever it is."""
    with administrator() as admin:
        admin.autocommit = True
        row = admin.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        ends = time.monotonic() + WAIT_S
        while not _passed(
            admin.execute("SELECT pg_snapshot_xmin(pg_current_snapshot()) > %s::xid8", (row[0],)).fetchone()
        ):
            assert time.monotonic() < ends, "a transaction stays open"
            time.sleep(0.01)


def _passed(row: object) -> bool:
    return isinstance(row, tuple) and row[0] is True
