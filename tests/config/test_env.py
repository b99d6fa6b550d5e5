"""The environment: what is wrong is named, with what is allowed; secrets may lie in files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.env import SECRETS, BadEnvironment, Env, read_env

pytestmark = pytest.mark.no_database


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: Any) -> Iterator[None]:
    for name in Env.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    read_env.cache_clear()
    yield
    read_env.cache_clear()


def test_an_empty_environment_is_good() -> None:
    env = read_env()
    assert env.parley_home == Path(".parley")
    assert env.trusted_proxies == ()
    assert "0.0.0.0" not in env.allowed_hosts  # noqa: S104 - that nothing listens to all by default


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("DATABASE_OWNER_URL", "x", "postgresql://"),
        ("REDIS_URL", "http://x", "redis://"),
        ("CELERY_BROKER_URL", "amqp://x", "redis://"),
        ("REDIS_URL", "redis://h:port/0", "redis://"),
        ("REDIS_URL", "redis://h/cache", "redis://"),
        ("PARLEY_ALLOWED_ORIGINS", "app.example", "https://app.example"),
        ("PARLEY_ALLOWED_ORIGINS", "https://one.example, https://app.example/", "without a path"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "https://"),
        ("PARLEY_STRIPE_API_BASE", "stripe", "https://"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOG_FORMAT", "xml", "'json' or 'console'"),
        ("DEBUG", "perhaps", "boolean"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy.example", "CIDR"),
        ("PARLEY_EGRESS_ALLOWED_NETWORKS", "10.0.0.0/8, inside.example", "CIDR"),
        ("PARLEY_EGRESS_PORTS", "443, https", "port numbers"),
        ("PARLEY_EGRESS_PORTS", "0", "port numbers"),
        ("PARLEY_PUBLIC_URL", "parley.example", "https://parley.example"),
        ("PARLEY_PUBLIC_URL", "https://parley.example/app", "without a path"),
        ("SMTP_PORT", "0", "greater than or equal to 1"),
        ("SMTP_TLS", "yes", "'starttls', 'tls' or 'none'"),
        ("SMTP_FROM", "nobody", "Parley <parley@example.com>"),
        ("SMTP_PASSWORD", "secret", "SMTP_USER"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(monkeypatch: Any, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadEnvironment) as refused:
        read_env()
    assert name in str(refused.value)
    assert says in str(refused.value)


def test_a_mail_server_needs_a_sender(monkeypatch: Any) -> None:
    monkeypatch.setenv("SMTP_HOST", "mail.example")
    with pytest.raises(BadEnvironment, match="SMTP_FROM"):
        read_env()
    monkeypatch.setenv("SMTP_FROM", "Parley <parley@example.com>")
    read_env.cache_clear()
    assert read_env().smtp_from == "Parley <parley@example.com>"


def test_every_bad_value_is_named_at_once_and_no_secret_shown(monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@x")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(BadEnvironment) as refused:
        read_env()
    assert "DATABASE_URL" in str(refused.value)
    assert "LOG_LEVEL" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_lists_are_separated_by_commas(monkeypatch: Any) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", " a.example , b.example,,")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8,192.0.2.1")
    assert read_env().allowed_hosts == ("a.example", "b.example")
    assert read_env().trusted_proxies == ("10.0.0.0/8", "fd00::/8", "192.0.2.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "rediss://:p%40w@[::1]:6380/2?ssl_cert_reqs=none"),
        ("REDIS_URL", "unix://:pw@/run/redis.sock?db=3"),
        ("REDIS_CACHE_URL", "redis://cache"),
        ("PARLEY_ALLOWED_ORIGINS", "https://app.example,http://[::1]:5173"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
    ],
)
def test_a_good_value_is_taken(monkeypatch: Any, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(read_env(), name.lower())


def test_every_secret_may_come_from_a_file(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("SMTP_USER", "parley")
    monkeypatch.setenv("PARLEY_FILES_ACCESS_KEY", "parley")
    values = {
        name: "redis://:pw@h" if "REDIS" in name or "BROKER" in name else "postgresql://u:pw@h/d" for name in SECRETS
    }
    for name, value in values.items():
        path = tmp_path / name
        path.write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(path))
    env = read_env()
    for name, value in values.items():
        found = getattr(env, name.lower())
        assert isinstance(found, SecretStr)
        assert found.get_secret_value() == value
    assert {"CELERY_BROKER_URL", "PARLEY_MASTER_KEY", "PARLEY_LOCAL_MODEL_KEY"} <= set(SECRETS)
    assert "pw" not in repr(env)


def test_a_secret_given_twice_or_in_no_readable_file_is_named(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(BadEnvironment, match="REDIS_URL_FILE"):
        read_env()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfa")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "bytes"))
    with pytest.raises(BadEnvironment, match="REDIS_URL_FILE"):
        read_env()
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "empty"))
    with pytest.raises(BadEnvironment, match="is empty"):
        read_env()
    monkeypatch.setenv("REDIS_URL", "redis://h")
    with pytest.raises(BadEnvironment, match="not both"):
        read_env()
