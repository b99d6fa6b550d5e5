"""The address that `up` listens on, and its command line."""

import socket
from pathlib import Path

import pytest

from config.embedded.home import HomeProblem
from config.management.commands.up import Command
from config.up import listener
from config.up.options import from_namespace, parse

pytestmark = pytest.mark.no_database


def test_port_0_picks_a_free_one() -> None:
    with listener.bind("127.0.0.1", 0) as bound:
        assert listener.port_of(bound) > 0


@pytest.mark.parametrize("taken_on", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_taken_port_says_so_and_what_to_do(taken_on: str) -> None:
    with socket.socket() as other:
        other.bind((taken_on, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(HomeProblem, match=f"Port {port} on 127.0.0.1 is taken.*--port {port + 1}.*--port 0"):
            listener.bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(HomeProblem, match=r"can't listen on 192\.0\.2\.1"):
        listener.bind("192.0.2.1", 0)
    with pytest.raises(HomeProblem, match="no address"):
        listener.bind("no such host.invalid", 0)


@pytest.mark.parametrize(
    ("host", "loopback", "url"),
    [
        ("127.0.0.1", True, "http://127.0.0.1:80"),
        ("127.9.9.9", True, "http://127.9.9.9:80"),
        ("localhost", True, "http://localhost:80"),
        ("::1", True, "http://[::1]:80"),
        ("0.0.0.0", False, "http://0.0.0.0:80"),  # noqa: S104
        ("parley.example", False, "http://parley.example:80"),
    ],
)
def test_hosts(host: str, loopback: bool, url: str) -> None:
    assert listener.is_loopback(host) is loopback
    assert listener.url(host, 80) == url


def test_the_home_comes_from_the_environment_unless_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARLEY_HOME", raising=False)
    assert parse([]).home == tmp_path / ".parley"
    monkeypatch.setenv("PARLEY_HOME", str(tmp_path / "elsewhere"))
    assert parse([]).home == tmp_path / "elsewhere"
    given = parse(["--home", "here", "--port", "0", "--host", "::1", "--workers", "3", "--no-local-model"])
    assert (given.home, given.port, given.host, given.workers, given.local_model) == (
        tmp_path / "here",
        0,
        "::1",
        3,
        False,
    )


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "x"], ["--workers", "0"], ["--nonsense"]])
def test_a_bad_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse(arguments)
    assert refusal.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_django_knows_the_command_too() -> None:
    parser = Command().create_parser("manage.py", "up")
    found = from_namespace(parser.parse_args(["--port", "0", "--no-local-model"]))
    assert (found.port, found.local_model) == (0, False)
