"""Builds the browser app: `python -m tools.web build`, or runs one of its scripts: `python -m tools.web run check`.

Needs Node only for that (`tools.node`). Quick when no source has changed.
"""

import hashlib
import sys

from tools.environment import ROOT, say
from tools.node import install, npm

WEB = ROOT / "platform" / "web"
BUILT = WEB / "node_modules" / ".parley-built"
NOT_SOURCES = {"node_modules", "dist", "build", "test-results", ".svelte-kit"}


def main(arguments: list[str]) -> None:
    """Build, or run a script of package.json. Nothing happens while there is no browser app."""
    if not (WEB / "package.json").exists():
        return
    if arguments == ["build"]:
        build()
    elif arguments[:1] == ["run"] and len(arguments) == 2:
        _install()
        npm(WEB, "run", arguments[1])
    else:
        sys.exit("usage: python -m tools.web build | run SCRIPT")


def build() -> None:
    """Build `platform/web/dist` unless it is that of the present sources."""
    digest = _digest_of_sources()
    built = BUILT.exists() and BUILT.read_text(encoding="ascii") == digest
    if built and (WEB / "dist" / "index.html").exists():
        return
    _install()
    say("building the browser app")
    npm(WEB, "run", "build")
    BUILT.write_text(digest, encoding="ascii")


def _install() -> None:
    install(WEB, what="the browser app")


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and not NOT_SOURCES & set(path.relative_to(WEB).parts):
            digest.update(f"{path.relative_to(WEB)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
