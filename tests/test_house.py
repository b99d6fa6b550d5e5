"""What holds for the project as a whole."""

import platform
import re
import sysconfig
from pathlib import Path

import pytest

from config.env import SECRETS, Env

pytestmark = pytest.mark.no_database

ROOT = Path(__file__).resolve().parents[1]
FLAGS = {"DEBUG", "PARLEY_LOCAL_MODEL_URL", "PARLEY_LOCAL_MODEL_KEY"}
"""Variables that `up` sets for its children, or that are for developers: not for people to fill in."""


def test_platform_is_the_standard_librarys() -> None:
    assert Path(platform.__file__).is_relative_to(sysconfig.get_paths()["stdlib"])
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_the_example_environment_names_every_variable() -> None:
    named = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named == {name.upper() for name in Env.model_fields} - FLAGS


def test_every_secret_variable_can_come_from_a_file() -> None:
    secret = {name.upper() for name, field in Env.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret - {"PARLEY_LOCAL_MODEL_KEY"} <= set(SECRETS)


def test_requirements_name_no_host() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "--hash=sha256:" in text, path
        assert "://" not in text, path


def test_migrations_add_constraints_and_indexes_the_quick_way() -> None:
    slow = re.compile(r"\bmigrations\.(AddConstraint|AddIndex)\(")
    found = [path for path in (ROOT / "platform").glob("*/migrations/*.py") if slow.search(path.read_text())]
    assert found == [], "take these from kernel.migrations"
