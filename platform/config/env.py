"""The environment, read once. A bad value stops the start with its name and what is allowed.

Secrets may come from a file instead: `NAME_FILE` holds the path of a file whose content is `NAME`.
"""

import os
import re
from decimal import Decimal
from email.utils import parseaddr
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kernel.net import parse_network

ROOT = Path(__file__).resolve().parents[2]

Names = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list."""
Rate = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""So many a minute."""
Seconds = Annotated[float, Field(gt=0, le=3600)]


class BadEnvironment(SystemExit):
    """The process can't start with this environment."""


class Env(BaseSettings):
    """Every variable Parley reads, with its default. Names in the environment are the upper-case ones."""

    model_config = SettingsConfigDict(case_sensitive=False, extra="ignore", frozen=True, env_ignore_empty=True)

    parley_home: Path = Field(default=Path(".parley"), description="folder of the embedded servers and secrets")
    database_url: SecretStr | None = Field(default=None, description="postgresql://user:password@host:port/name")
    database_owner_url: SecretStr | None = None
    database_platform_url: SecretStr | None = None
    redis_url: SecretStr | None = Field(default=None, description="redis://, rediss:// or unix://")
    redis_cache_url: SecretStr | None = Field(default=None, description="for caches alone; REDIS_URL unless set")
    celery_broker_url: SecretStr | None = None
    parley_master_key: SecretStr | None = None
    parley_key_pepper: SecretStr | None = None
    parley_jwt_key: SecretStr | None = None

    allowed_hosts: Names = ("127.0.0.1", "localhost", "[::1]")
    parley_allowed_origins: Names = ()
    trusted_proxies: Names = ()
    debug: bool = False

    parley_upstream_connect_s: Seconds = 5.0
    parley_upstream_first_token_s: Seconds = 60.0
    parley_upstream_between_tokens_s: Seconds = 30.0
    parley_upstream_total_s: Seconds = 600.0

    llm_primary_provider: str | None = None
    llm_fallback_providers: Names = ()
    parley_region: str = Field(default="", max_length=32, description="where this process is, such as eu-central-1")

    parley_cache_memory_mib: Annotated[int, Field(ge=0, le=65_536)] = 64
    parley_default_rpm: Rate | None = None
    parley_default_tpm: Rate | None = None
    parley_sockets_per_process: Annotated[int, Field(ge=1, le=100_000)] = 1000
    parley_sockets_per_tenant: Annotated[int, Field(ge=1, le=100_000)] = 1000
    parley_web_processes: Annotated[int, Field(ge=1, le=10_000)] = 1
    parley_ops_host: str = "127.0.0.1"
    parley_ops_port: Annotated[int, Field(ge=0, le=65535)] | None = None

    parley_egress_allowed_networks: Names = ()
    parley_egress_ports: Names = ("443",)

    parley_public_url: str | None = Field(
        default=None, description="where people find the browser app; links lead there"
    )
    smtp_host: str | None = Field(default=None, max_length=253, description="the mail server; none: no e-mail")
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 587
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_from: str | None = Field(default=None, validate_default=True, description="the sender of all e-mail")

    parley_stripe_secret_key: SecretStr | None = None
    parley_stripe_webhook_secret: SecretStr | None = Field(default=None, validate_default=True)
    parley_stripe_api_base: str | None = Field(default=None, description="instead of Stripe's own address")

    parley_files_bucket: str = Field(default="", max_length=63, description="where files are kept; none: in the home")
    parley_files_endpoint: str | None = Field(default=None, description="of a store that is not Amazon's")
    parley_files_region: str = Field(default="us-east-1", max_length=32)
    parley_files_prefix: str = Field(default="", max_length=200, description="before the names of all objects")
    parley_files_access_key: str | None = Field(default=None, description="none: as the machine is known to Amazon")
    parley_files_secret_key: SecretStr | None = Field(default=None, validate_default=True)

    parley_seller_name: str = Field(default="Parley", max_length=200, description="who invoices are from")
    parley_seller_address: str = Field(default="", max_length=500, description="its lines, with | between")
    parley_seller_tax_id: str = Field(default="", max_length=64)
    parley_seller_email: str = Field(default="", max_length=254)
    parley_tax_name: str = Field(default="Tax", min_length=1, max_length=40, description="VAT, GST, sales tax")
    parley_tax_percent: Annotated[Decimal, Field(ge=0, le=100, decimal_places=2)] = Decimal(0)
    parley_invoice_due_days: Annotated[int, Field(ge=0, le=365)] = 14
    parley_invoice_review_hours: Annotated[int, Field(ge=0, le=720)] = 24
    parley_invoice_note: str = Field(default="", max_length=500, description="how to pay; its lines, with | between")
    parley_invoice_fonts: Names = Field(default=(), description="TrueType files for names in further scripts")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    otel_exporter_otlp_endpoint: str | None = None

    parley_local_model_url: str | None = None
    parley_local_model_key: SecretStr | None = None

    @field_validator(
        "allowed_hosts",
        "parley_allowed_origins",
        "trusted_proxies",
        "llm_fallback_providers",
        "parley_egress_allowed_networks",
        "parley_egress_ports",
        "parley_invoice_fonts",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("trusted_proxies", "parley_egress_allowed_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            try:
                parse_network(item)
            except ValueError:
                raise ValueError("addresses or CIDR blocks like 10.0.0.0/8 are needed, separated by commas") from None
        return value

    @field_validator("parley_invoice_fonts")
    @classmethod
    def _files(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if not item.endswith(".ttf") or not Path(item).is_file():
                raise ValueError("paths of TrueType files (.ttf) are needed, separated by commas")
        return value

    @field_validator("parley_egress_ports")
    @classmethod
    def _ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if not (item.isascii() and item.isdigit() and len(item) <= 5 and 0 < int(item) < 65_536):
                raise ValueError("port numbers from 1 to 65535 are needed, separated by commas")
        return value

    @field_validator("parley_allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"https?://[^/?#@\s]+", item) for item in value):
            raise ValueError("origins like https://app.example are needed, without a path, separated by commas")
        return value

    @field_validator("otel_exporter_otlp_endpoint", "parley_stripe_api_base")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("an address like https://host.example is needed")
        return value

    @field_validator("parley_public_url")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://unset")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("an address like https://parley.example is needed, without a path")
        return value.rstrip("/") if value else None

    @field_validator("smtp_password")
    @classmethod
    def _with_user(cls, value: SecretStr | None, known: ValidationInfo) -> SecretStr | None:
        if value and not known.data.get("smtp_user"):
            raise ValueError("SMTP_USER is needed with it")
        return value

    @field_validator("parley_stripe_webhook_secret")
    @classmethod
    def _with_key(cls, value: SecretStr | None, known: ValidationInfo) -> SecretStr | None:
        if bool(value) != bool(known.data.get("parley_stripe_secret_key")):
            raise ValueError("PARLEY_STRIPE_SECRET_KEY and PARLEY_STRIPE_WEBHOOK_SECRET are needed together")
        return value

    @field_validator("parley_files_endpoint")
    @classmethod
    def _store(cls, value: str | None) -> str | None:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("an address like https://s3.example.com is needed")
        return value or None

    @field_validator("parley_files_secret_key")
    @classmethod
    def _with_access_key(cls, value: SecretStr | None, known: ValidationInfo) -> SecretStr | None:
        if bool(value) != bool(known.data.get("parley_files_access_key")):
            raise ValueError("PARLEY_FILES_ACCESS_KEY and PARLEY_FILES_SECRET_KEY are needed together")
        return value

    @field_validator("smtp_from")
    @classmethod
    def _sender(cls, value: str | None, known: ValidationInfo) -> str | None:
        if value is None and not known.data.get("smtp_host"):
            return None
        _, address = parseaddr(value or "")
        if not value or not value.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise ValueError("an address like Parley <parley@example.com> is needed with SMTP_HOST")
        return value

    @field_validator("database_url", "database_owner_url", "database_platform_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value and urlsplit(value.get_secret_value()).scheme not in ("postgres", "postgresql"):
            raise ValueError("a URL like postgresql://user:password@host:5432/name is needed")
        return value

    @field_validator("redis_url", "redis_cache_url", "celery_broker_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value() if value else "unix:")
        database = parts.path.strip("/") if parts.scheme != "unix" else ""
        if parts.scheme not in ("redis", "rediss", "unix") or _port(parts) is None or not (database or "0").isdecimal():
            raise ValueError("a URL like redis://host:6379/0 or unix:///path/to/socket is needed")
        return value


SECRETS = tuple(name.upper() for name, known in Env.model_fields.items() if known.annotation == SecretStr | None)
"""Variables that may come from a file."""


@cache
def read_env() -> Env:
    """The environment's values. Raises `BadEnvironment` naming each bad variable and what is allowed."""
    from_files = {name.lower(): _read_secret(name) for name in SECRETS if os.environ.get(f"{name}_FILE")}
    try:
        return Env(**from_files)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"  {str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors(include_input=False)]
        raise BadEnvironment("Parley can't start with this environment:\n" + "\n".join(lines)) from None


def provider_variables() -> dict[str, str]:
    """The keys and addresses of providers: every variable that ends as those do, whichever providers there are.

    `NAME_API_KEY_FILE` holds the path of a file whose content is `NAME_API_KEY`. Raises `BadEnvironment`."""
    found: dict[str, str] = {}
    for name in sorted(os.environ):
        if name.endswith(("_API_KEY", "_BASE_URL", "_ENDPOINT")):
            found[name] = os.environ[name].strip()
        elif name.endswith("_API_KEY_FILE") and os.environ[name]:
            found[name.removesuffix("_FILE")] = _read_secret(name.removesuffix("_FILE"))
    return {name: value for name, value in found.items() if value}


def _port(parts: SplitResult) -> int | None:
    """The port of an address, 0 where it names none; None where what it names is no port."""
    try:
        return parts.port or 0
    except ValueError:
        return None


def _read_secret(name: str) -> str:
    path = Path(os.environ[f"{name}_FILE"])
    if os.environ.get(name):
        raise BadEnvironment(f"Set {name} or {name}_FILE, not both.")
    try:
        found = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadEnvironment(f"{name}_FILE: {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadEnvironment(f"{name}_FILE: {path} does not hold text") from None
    if not found:
        # Taken for none, it would be made up for: by another database, or by other keys.
        raise BadEnvironment(f"{name}_FILE: {path} is empty")
    return found
