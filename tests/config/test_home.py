"""The home folder: what is in it, who may read it, and that only one `up` has it."""

import os
import stat
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import lock
from config.embedded.home import SECRET_NAMES, SOCKET_PATH_MAX_BYTES, Home, HomeProblem, fits_socket, is_private
from tests.config.conftest import Program, Start

pytestmark = pytest.mark.no_database


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_making_a_home_object_touches_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.secret("master_key") is None
    assert home.database_url().startswith("postgresql://parley_admin:@/parley?host=")
    assert not home.path.exists()


def test_secrets_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    first = {name: home.secret(name) for name in SECRET_NAMES}
    assert all(first.values())
    assert len(set(first.values())) == len(SECRET_NAMES)
    assert mode(home.secrets) == 0o700
    assert {mode(home.secrets / name) for name in SECRET_NAMES} == {0o600}
    home.prepare()
    assert {name: Home(home.path).secret(name) for name in SECRET_NAMES} == first


def test_a_database_without_its_secrets_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("18\n")
    (home.secrets / "master_key").unlink()
    with pytest.raises(HomeProblem, match="its secrets are missing: master_key"):
        home.prepare()
    assert home.secret("master_key") is None


def test_a_long_path_gets_a_short_private_folder_for_sockets(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 30))
    home.prepare()
    assert home.sockets != home.run
    assert is_private(home.sockets)
    assert len(os.fsencode(home.postgres_sockets / ".s.PGSQL.5432")) <= SOCKET_PATH_MAX_BYTES
    assert Home(home.path).sockets == home.sockets, "other commands find it"
    chosen = home.sockets
    home.prepare()
    assert home.sockets == chosen
    home.clear_sockets()
    assert not chosen.exists()


def test_a_socket_folder_that_others_can_write_to_is_not_used_again(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 30))
    home.prepare()
    chosen = home.sockets
    chosen.chmod(0o777)
    home.prepare()
    assert home.sockets != chosen
    home.clear_sockets()
    chosen.rmdir()


def test_a_comma_in_the_path_is_no_list_of_hosts(tmp_path: Path) -> None:
    assert not fits_socket(tmp_path / "a,b")


def test_addresses_survive_unusual_paths(tmp_path: Path) -> None:
    home = Home(tmp_path / "a b%20é?#&")
    given = psycopg.conninfo.conninfo_to_dict(home.database_url())
    assert given["host"] == str(home.postgres_sockets)
    pool = redis.ConnectionPool.from_url(home.redis_url())
    assert pool.connection_kwargs["path"] == str(home.valkey_socket)


def test_an_unusable_place_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeProblem, match="can't be used"), lock.hold(Home(tmp_path / "file" / "home")):
        pass
    with pytest.raises(HomeProblem, match="can't be prepared"):
        Home(tmp_path / "file").prepare()


HOLD = """
import sys, time
from config.embedded import lock
from config.embedded.home import Home
with lock.hold(Home(sys.argv[1])):
    print("held")
    time.sleep(600)
"""


def test_a_home_in_use_is_refused_with_the_holder_named(program: Start, tmp_path: Path) -> None:
    holder: Program = program(HOLD, str(tmp_path / "home"))
    holder.wait_for_output("held")
    home = Home(tmp_path / "home")
    with pytest.raises(HomeProblem, match=f"process {holder.process.pid}"), lock.hold(home):
        pass
    holder.process.kill()
    holder.process.wait()
    with lock.hold(home):
        pass
