"""Makes `.venv` and installs what is pinned: `python -m tools.environment run|dev`. Quick when there is nothing to do.

`run` is what `make run` needs; `dev` is that and the tools of development.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".parley-requirements"
LEVELS = ("run", "dev")
VERSION_MIN, VERSION_BELOW = (3, 11), (3, 13)


def main(level: str) -> None:
    """Bring `.venv` to `level`, or further where it is further already. Ends the process with a reason on failure."""
    if _is_current(level):
        return
    managed = bool(_stamp())
    if not _works(PYTHON):
        _make_venv()
        managed = True
    wanted = "dev" if level == "dev" or _stamp().get("level") == "dev" else "run"
    say(f"installing requirements/{wanted}.txt")
    # An environment that somebody else made keeps what they put there.
    _install(f"requirements/{wanted}.txt", "sync" if managed else "install")
    STAMP.write_text(json.dumps({"level": wanted, "digest": _digest(wanted)}), encoding="utf-8")


def say(text: str) -> None:
    """Tell what takes a while."""
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def _is_current(level: str) -> bool:
    stamp = _stamp()
    present = stamp.get("level")
    enough = present in LEVELS and LEVELS.index(present) >= LEVELS.index(level)
    return enough and stamp.get("digest") == _digest(str(present)) and _works(PYTHON)


def _stamp() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _digest(level: str) -> str:
    """Of the pinned packages and of where they were installed: a moved `.venv` has to be made again."""
    content = (ROOT / "requirements" / f"{level}.txt").read_bytes()
    return hashlib.sha256(content + os.fsencode(VENV.resolve())).hexdigest()


def _works(python: Path) -> bool:
    try:
        result = subprocess.run(
            [python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return result.returncode == 0 and Path(result.stdout.strip()).resolve() == VENV.resolve()


def _make_venv() -> None:
    base = _suitable_python()
    say("making .venv")
    result = subprocess.run([base, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(
            f"{base} can't make a virtual environment (on Debian and Ubuntu, install python3-venv):\n"
            f"{result.stdout}{result.stderr}"
        )


def _suitable_python() -> str:
    if VERSION_MIN <= sys.version_info[:2] < VERSION_BELOW:
        return sys.executable
    for name in ("python3.12", "python3.11"):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    sys.exit(f"Parley needs Python 3.11 or 3.12; this is {sys.version.split()[0]}. Say which: make PYTHON=python3.12 …")


def _install(requirements: str, verb: str) -> None:
    given = ("-r", requirements) if verb == "install" else (requirements,)
    if _succeeds(uv(), "pip", verb, "--quiet", "--python", PYTHON, *given):
        return
    # uv reads none of pip's settings; where only those know the way to a registry, pip does it.
    say("uv could not; trying pip")
    _run(PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", requirements)


def uv() -> str:
    """The installer: that of `.venv`, or the system's, or else installed into `.venv` first."""
    own = VENV / "bin" / "uv"
    system = shutil.which("uv")
    if not own.exists() and system and _succeeds(system, "--version", quiet=True):
        return system
    if not own.exists():
        say("installing uv, the installer")
        ensure_pip()
        _run(PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements/setup.txt")
    return str(own)


def ensure_pip() -> None:
    """Have pip in `.venv`."""
    if not _succeeds(PYTHON, "-m", "pip", "--version", quiet=True):
        _run(PYTHON, "-m", "ensurepip")


def _succeeds(*command: str | Path, quiet: bool = False) -> bool:
    given = [str(part) for part in command]
    return subprocess.run(given, cwd=ROOT, check=False, capture_output=quiet).returncode == 0


def _run(*command: str | Path) -> None:
    if not _succeeds(*command):
        sys.exit(f"setup: failed: {' '.join(str(part) for part in command)}")


if __name__ == "__main__":
    main(sys.argv[1])
