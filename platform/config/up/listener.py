"""The one listening socket of all web processes. It is opened first of all, so that a taken port stops nothing else."""

import contextlib
import errno
import ipaddress
import socket

from config.embedded.home import HomeProblem
from config.env import read_env

BACKLOG = 2048
OPERATORS_PORT = 9464
"""Where OpenTelemetry's exporters for Prometheus listen."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not listening yet. Raises `HomeProblem` saying what is wrong and what to do."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise HomeProblem(f"{host} is no address of this machine: {error.strerror}.") from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Linux lets two sockets be bound to one port until one of them listens.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise _explain(error, host, port) from error
    return bound


def bind_for_operators(*, web_port: int) -> socket.socket:
    """The socket of the operators' listener: where the environment says, else `OPERATORS_PORT` on loopback, or a free port where
    that is taken or `--port 0` was asked for.
    """
    env = read_env()
    if env.parley_ops_port is not None:
        return bind(env.parley_ops_host, env.parley_ops_port)
    if web_port:
        with contextlib.suppress(HomeProblem):
            return bind(env.parley_ops_host, OPERATORS_PORT)
    return bind(env.parley_ops_host, 0)


def port_of(listening: socket.socket) -> int:
    """The port that the socket is bound to."""
    port: int = listening.getsockname()[1]
    return port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_host(host: str) -> str:
    """The address at which this machine reaches a server listening on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def url(host: str, port: int) -> str:
    """The address as a URL."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _explain(error: OSError, host: str, port: int) -> HomeProblem:
    if error.errno == errno.EADDRINUSE:
        return HomeProblem(
            f"Port {port} on {host} is taken by another program. Stop that one, or choose another port: "
            f'--port {port + 1 if port < 65535 else 8000}, or --port 0 for any free one (make run ARGS="--port 0").'
        )
    if error.errno == errno.EACCES:
        return HomeProblem(f"Port {port} needs more rights than this user has. Choose one from 1024 up, with --port.")
    return HomeProblem(f"Parley can't listen on {host}, port {port}: {error.strerror}.")
