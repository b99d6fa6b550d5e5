"""The home folder of an installation on one machine: secrets, data and sockets of the embedded servers.

    secrets/    generated keys and passwords, readable by their owner alone
    postgres/   PostgreSQL's data
    valkey/     Valkey's append-only file
    run/        what only matters while `up` runs: sockets, child processes, beat's schedule, metrics

A Unix socket's path has a limit of 107 bytes (`sun_path` in unix(7)). Where the home's own path leaves no room, the
sockets live in a short private folder elsewhere, and `run/sockets.path` says where.
"""

import base64
import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

ADMIN_ROLE = "parley_admin"
DATABASE_NAME = "parley"
SHARED_SECRETS = {"PARLEY_MASTER_KEY": "master_key", "PARLEY_KEY_PEPPER": "key_pepper", "PARLEY_JWT_KEY": "jwt_key"}
"""What all processes on one database have to have in common: the variables, and the files' names."""
SECRET_NAMES = (*SHARED_SECRETS.values(), "postgres_admin_password")
SECRET_BYTES = 32
SOCKET_PATH_MAX_BYTES = 107
POSTGRES_SOCKET = ".s.PGSQL.5432"
VALKEY_SOCKET = "valkey.sock"


class HomeProblem(RuntimeError):
    """The home folder can't be used as it is. The message says why, and what to do."""


class Home:
    """The home folder at `path`. Making one touches nothing; `prepare` makes the folders and secrets."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()
        self.secrets = self.path / "secrets"
        self.postgres = self.path / "postgres"
        self.valkey = self.path / "valkey"
        self.run = self.path / "run"
        self.metrics = self.run / "metrics"
        self._sockets_record = self.run / "sockets.path"

    def clear_metrics(self) -> None:
        """An empty folder for the numbers of this run's processes."""
        shutil.rmtree(self.metrics, ignore_errors=True)
        self.metrics.mkdir(mode=0o700, parents=True)

    @property
    def has_database(self) -> bool:
        """Whether PostgreSQL's data exists, whole."""
        return (self.postgres / "PG_VERSION").exists()

    @property
    def sockets(self) -> Path:
        """The folder of the sockets."""
        try:
            return Path(self._sockets_record.read_text(encoding="utf-8"))
        except OSError:
            return self.run

    @property
    def postgres_sockets(self) -> Path:
        """The folder of PostgreSQL's socket, which belongs to the user it runs as."""
        return self.sockets / "pg"

    @property
    def valkey_socket(self) -> Path:
        """The path of Valkey's socket."""
        return self.sockets / VALKEY_SOCKET

    def secret(self, name: str) -> str | None:
        """A generated secret, or None before the first start. Raises `HomeProblem` when it can't be read."""
        try:
            return (self.secrets / name).read_text(encoding="ascii").strip() or None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise HomeProblem(f"{self.secrets / name} can't be read: {error}. Run as the user who made it.") from error

    def database_url(self, *, database: str = DATABASE_NAME) -> str:
        """The administrator's connection string; the server need not run, nor exist yet."""
        password = quote(self.secret("postgres_admin_password") or "", safe="")
        folder = quote(str(self.postgres_sockets), safe="")
        return f"postgresql://{ADMIN_ROLE}:{password}@/{database}?host={folder}"

    def redis_url(self) -> str:
        """Valkey's address, as Redis clients read it."""
        return f"unix://{quote(str(self.valkey_socket))}"

    def prepare(self) -> None:
        """Make what is missing of folders, secrets and the place for sockets. Raises `HomeProblem`.

        Only the holder of the home's lock may call this.
        """
        try:
            # An embedded PostgreSQL started by root runs as another user, who has to pass through.
            make_folder(self.path, mode=0o711 if os.geteuid() == 0 else 0o700)
            make_folder(self.secrets, mode=0o700)
            make_folder(self.valkey, mode=0o700)
            make_folder(self.run, mode=0o711 if os.geteuid() == 0 else 0o700)
            self._ensure_secrets()
            self._ensure_sockets()
        except OSError as error:
            raise HomeProblem(f"The home folder {self.path} can't be prepared: {error}") from error

    def clear_sockets(self) -> None:
        """Remove the sockets, and their folder if it is not part of the home. For when no server runs."""
        sockets = self.sockets
        for path in (self.valkey_socket, *_postgres_socket_files(sockets / "pg")):
            path.unlink(missing_ok=True)
        if sockets != self.run:
            if is_private(sockets):
                shutil.rmtree(sockets, ignore_errors=True)
            self._sockets_record.unlink(missing_ok=True)

    def _ensure_secrets(self) -> None:
        missing = [name for name in SECRET_NAMES if self.secret(name) is None]
        if missing and self.has_database:
            raise HomeProblem(
                f"{self.postgres} holds a database, but its secrets are missing: {', '.join(missing)} in {self.secrets}. "
                "What is encrypted with them can't be read without; restore them from a backup. "
                f"To begin anew, move {self.path} away."
            )
        for name in missing:
            encoded = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")
            write_private(self.secrets / name, encoded + "\n")

    def _ensure_sockets(self) -> None:
        if fits_socket(self.run):
            self._sockets_record.unlink(missing_ok=True)
            return
        if self.sockets != self.run and is_private(self.sockets):
            return
        folder = Path(tempfile.mkdtemp(prefix="parley-", dir=_short_parent()))
        if os.geteuid() == 0:
            folder.chmod(0o711)
        if not fits_socket(folder):
            folder.rmdir()
            raise HomeProblem(
                f"Neither {self.run} nor {folder.parent} is short enough for a socket. Set TMPDIR to a short path."
            )
        write_private(self._sockets_record, str(folder))


def fits_socket(folder: Path) -> bool:
    """Whether sockets can live in `folder`: short enough, and no comma (libpq reads a list of hosts)."""
    longest = folder / "pg" / POSTGRES_SOCKET
    return len(os.fsencode(longest)) <= SOCKET_PATH_MAX_BYTES and "," not in str(folder)


def make_folder(path: Path, *, mode: int) -> None:
    """Make `path` with exactly `mode`; an existing folder is left as it is, but for write access by others."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        present = stat.S_IMODE(path.stat().st_mode)
        path.chmod(present & ~0o022 | mode)
        return
    path.chmod(mode)


def write_private(path: Path, text: str) -> None:
    """Write a file for its owner's eyes alone, whole or not at all, also if the machine stops meanwhile."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_private(folder: Path) -> bool:
    """Whether `folder` is a real folder of ours that nobody else can write to."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return False


def _short_parent() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and is_private(Path(runtime)):
        return Path(runtime)
    return Path(tempfile.gettempdir())


def _postgres_socket_files(folder: Path) -> list[Path]:
    return [folder / POSTGRES_SOCKET, folder / f"{POSTGRES_SOCKET}.lock"]
