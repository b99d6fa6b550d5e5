"""`manage.py up` on a database that others use."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.embedded.home import SHARED_SECRETS, Home
from tests.config.test_up import ROOT
from tests.support.servers import database_url, redis_url


def up(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """One that is to refuse."""
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--home", str(home), "--no-local-model", "--port", "0"]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=home.parent, timeout=60
    )


@pytest.mark.parametrize("given", [(), ("PARLEY_MASTER_KEY", "PARLEY_JWT_KEY")])
def test_a_database_in_use_is_not_begun_anew_with_other_secrets(tmp_path: Path, given: tuple[str, ...]) -> None:
    servers = {"DATABASE_URL": database_url("test_parley"), "REDIS_URL": redis_url(0)}
    ended = up(tmp_path / "home", **servers, **dict.fromkeys(given, "x" * 44))
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    missing = ", ".join(name for name in SHARED_SECRETS if name not in given)
    assert f"its secrets are missing: {missing}" in said
    assert Home(tmp_path / "home").secret("key_pepper") is None, "or the next start would go on with it"
