"""The embedded PostgreSQL and Valkey, started for real: places, restarts, crashes."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import account as accounts
from config.embedded.home import Home, HomeProblem
from config.embedded.postgres import clear_stale_state, ensure_initialised, postgres_spec, shared_buffers_mb
from config.embedded.testing import run_child, throwaway_servers, wait_until_ready
from config.embedded.valkey import valkey_spec
from config.supervisor.processes import working_in
from tests.config.conftest import Start, exists, wait_for

pytestmark = pytest.mark.no_database
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")


def connect(home: Home) -> psycopg.Connection[tuple[object, ...]]:
    """As the administrator."""
    return psycopg.connect(home.database_url(database="postgres"), autocommit=True)


@contextmanager
def running(home: Home) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """PostgreSQL and Valkey as `up` runs them, keeping their promises."""
    home.prepare()
    ensure_initialised(home)
    with ExitStack() as stack:
        found = {}
        for spec in (postgres_spec(home), valkey_spec(home)):
            found[spec.name] = stack.enter_context(run_child(spec, log=home.run / f"{spec.name}.log"))
            wait_until_ready(spec, found[spec.name])
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home folder with a space in its path."""
    return Home(tmp_path / "a home")


def test_servers_keep_their_data_through_stops_and_crashes(home: Home) -> None:
    with running(home), connect(home) as database:
        database.execute("CREATE EXTENSION vector")
        database.execute("CREATE TABLE kept (v vector(2))")
        database.execute("INSERT INTO kept VALUES ('[1,2]')")
        redis.Redis.from_url(home.redis_url()).set("kept", "1")
    with running(home) as servers:
        with connect(home) as database:
            database.execute("INSERT INTO kept VALUES ('[3,4]')")
        redis.Redis.from_url(home.redis_url()).set("crashed", "1")
        wait_for(lambda: b"crashed" in _append_only(home), what="the write in the append-only file")
        for server in servers.values():
            server.kill()
            server.wait()
    assert (home.postgres / "postmaster.pid").exists()
    _reuse_pid(home, os.getpid())
    incomplete = max((home.valkey / "appendonlydir").glob("*.incr.aof"))
    with incomplete.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\ncut")
    with running(home), connect(home) as database:
        assert database.execute("SELECT count(*) FROM kept").fetchone() == (2,)
        client = redis.Redis.from_url(home.redis_url())
        assert client.mget("kept", "crashed", "cut") == [b"1", b"1", None]


def test_everybody_needs_a_password_and_nobody_comes_by_network(home: Home) -> None:
    with throwaway_servers(home.path) as servers:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(home.database_url(database="postgres"), password="wrong")
        with connect(home) as database:
            assert database.execute("SHOW listen_addresses").fetchone() == ("",)
            rules = database.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        assert rules == [("scram-sha-256",)]
        assert redis.Redis.from_url(servers.redis_url).config_get("port") == {"port": "0"}


def test_its_log_tells_of_an_error_and_not_what_people_wrote(home: Home) -> None:
    with running(home), connect(home) as database, pytest.raises(psycopg.errors.UndefinedTable):
        database.execute("INSERT INTO nowhere VALUES ('what somebody wrote')")
    log = (home.run / "postgres.log").read_text()
    assert 'relation "nowhere" does not exist' in log
    assert "what somebody wrote" not in log


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 30) / 'it\'s, "here"')
    with throwaway_servers(home.path), connect(home) as database:
        assert database.execute("SELECT 1").fetchone() == (1,)
    assert not home.sockets.exists() or home.sockets == home.run


def test_a_stranger_in_the_data_folder_is_left_alone(home: Home) -> None:
    home.prepare()
    ensure_initialised(home, durable=False)
    with subprocess.Popen(["sleep", "600"], cwd=home.postgres) as stranger:
        _pretend_to_run(home, stranger.pid)
        clear_stale_state(home)
        assert stranger.poll() is None
        stranger.kill()
    assert not (home.postgres / "postmaster.pid").exists()


def test_an_orphan_that_does_not_end_is_killed(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.embedded.postgres.ORPHAN_WAIT_S", 0.2)
    home.prepare()
    ensure_initialised(home, durable=False)
    imposter = tmp_path / "postgres"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", imposter)
    deaf = "import os, signal, sys; signal.signal(signal.SIGQUIT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-S", "-c", deaf, str(imposter), "600"]
    with subprocess.Popen(command, cwd=home.postgres) as orphan:
        wait_for(lambda: working_in(home.postgres, program="postgres") == [orphan.pid])
        waiter = threading.Thread(target=orphan.wait)
        waiter.start()
        clear_stale_state(home)
        waiter.join(10)
        assert orphan.returncode == -signal.SIGKILL


def test_an_interrupted_initialisation_is_begun_anew(home: Home) -> None:
    unfinished = home.path / "postgres.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    home.prepare()
    assert ensure_initialised(home, durable=False)
    assert not ensure_initialised(home)
    assert not unfinished.exists()


def test_a_folder_of_something_else_is_not_touched(home: Home) -> None:
    home.prepare()
    home.postgres.mkdir()
    (home.postgres / "thesis.txt").write_text("")
    with pytest.raises(HomeProblem, match="no PostgreSQL data folder"):
        ensure_initialised(home)
    assert (home.postgres / "thesis.txt").exists()


def test_servers_end_with_the_process_that_started_them(program: Start, tmp_path: Path) -> None:
    text = """
    import sys, time
    from config.embedded.testing import throwaway_servers
    with throwaway_servers(sys.argv[1]) as servers:
        print((servers.home.postgres / "postmaster.pid").read_text().split()[0])
        time.sleep(600)
    """
    owner = program(text, str(tmp_path / "home"))
    wait_for(lambda: owner.output.endswith("\n"))
    server = int(owner.output)
    owner.process.kill()
    wait_for(lambda: not exists(server))


@as_root
def test_root_runs_it_as_another_user_below_a_folder_that_one_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = Home(closed / "home")
    with throwaway_servers(home.path), connect(home) as database:
        database.execute("CREATE EXTENSION vector")
        pid = int((home.postgres / "postmaster.pid").read_text().split()[0])
        owner = Path(f"/proc/{pid}").stat().st_uid
        status = Path(f"/proc/{pid}/status").read_text()
    assert owner == home.postgres.stat().st_uid != 0
    assert pwd.getpwuid(owner).pw_name in (accounts.ACCOUNT, accounts.FALLBACK_ACCOUNT)
    assert "CapEff:\t0000000000000004" in status, "nothing but searching and reading folders"
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_without_a_right_to_hand_on_a_closed_folder_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(accounts, "_held_capabilities", lambda: 1 << accounts.CAP_DAC_OVERRIDE)
    overriding = accounts.postgres_account(data=tmp_path / "data", programs=tmp_path)
    assert overriding
    assert overriding.capability == accounts.CAP_DAC_OVERRIDE
    monkeypatch.setattr(accounts, "_held_capabilities", lambda: 0)
    with pytest.raises(HomeProblem, match="can't reach"):
        accounts.postgres_account(data=tmp_path / "data", programs=tmp_path)


def _append_only(home: Home) -> bytes:
    return b"".join(path.read_bytes() for path in (home.valkey / "appendonlydir").glob("*.incr.aof"))


def _pretend_to_run(home: Home, pid: int) -> None:
    (home.postgres / "postmaster.pid").write_text(f"{pid}\n{home.postgres}\n")


def _reuse_pid(home: Home, pid: int) -> None:
    """As if the pid of the killed server had gone to another program."""
    path = home.postgres / "postmaster.pid"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(pid), *lines[1:]]) + "\n")


@pytest.mark.parametrize(("memory_gib", "megabytes"), [(0.5, 128), (4, 512), (64, 1024)])
def test_the_database_takes_its_share_of_the_memory(memory_gib: float, megabytes: int) -> None:
    assert shared_buffers_mb(round(memory_gib * 2**30)) == megabytes
