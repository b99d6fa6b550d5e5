"""The system account that the embedded PostgreSQL runs as. PostgreSQL refuses to run as root.

Not root: our own account. Root: the owner of the data, or `parley-pg`, which is made when missing. That account may be
unable to enter a folder above the data or the programs (a home folder of mode 0700). No folder above ours is ever
changed; the process keeps one capability instead, to search and read folders (capabilities(7)), or, where a container
has dropped that one, to override access modes.
"""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from config.embedded.home import HomeProblem

ACCOUNT = "parley-pg"
FALLBACK_ACCOUNT = "nobody"
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a process runs as. `capability` is a number of capabilities(7) it keeps, or None."""

    uid: int
    gid: int
    capability: int | None = None


def postgres_account(*, data: Path, programs: Path) -> Account | None:
    """Whom PostgreSQL has to run as, or None for ourselves. Raises `HomeProblem`."""
    if os.geteuid() != 0:
        return None
    uid, gid = _identity(data)
    blocked = [path for path in (data, programs / "postgres") if not _reachable(path, uid=uid, gid=gid)]
    if not blocked:
        return Account(uid, gid)
    held = _held_capabilities()
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if held & 1 << capability:
            return Account(uid, gid, capability)
    raise HomeProblem(
        f"PostgreSQL can't run as root, and the account it runs as instead (user id {uid}) can't reach {blocked[0]}. "
        "Start Parley as an ordinary user, or put it where that account may enter."
    )


def _identity(data: Path) -> tuple[int, int]:
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    for name in (ACCOUNT, FALLBACK_ACCOUNT):
        if name == ACCOUNT:
            _ensure_account(name)
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise HomeProblem(
        f"PostgreSQL can't run as root, and neither could the account {ACCOUNT} be made nor is there {FALLBACK_ACCOUNT}. "
        "Start Parley as an ordinary user."
    )


def _ensure_account(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if useradd:
            options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
            subprocess.run(
                [useradd, *options, "--shell", "/usr/sbin/nologin", name],
                check=False,
                capture_output=True,
                timeout=10,
            )


def _reachable(path: Path, *, uid: int, gid: int) -> bool:
    return all(_may_search(folder, uid=uid, gid=gid) for folder in path.resolve().parents)


def _may_search(folder: Path, *, uid: int, gid: int) -> bool:
    found = folder.stat()
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _held_capabilities() -> int:
    """What we may hand on: permitted, and within the bounding set."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return int(fields.get("CapPrm", "0"), 16) & int(fields.get("CapBnd", "0"), 16)
