"""Django's settings: composition of what `config.env` read. Bounds carry their unit in the name."""

from datetime import timedelta
from pathlib import Path

from celery.schedules import crontab

from config.broker import broker_url
from config.databases import DatabaseUrls, django_databases
from config.embedded.home import Home
from config.env import ROOT, provider_variables, read_env
from config.files import file_storage
from config.logs import logging_config

env = read_env()
home = Home(env.parley_home)

BASE_DIR = ROOT
DEBUG = env.debug
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
AUTH_USER_MODEL = "tenants.Person"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
APPEND_SLASH = False


def _secret(value: object, name: str) -> str:
    given = value.get_secret_value() if hasattr(value, "get_secret_value") else None
    return given or home.secret(name) or ""


# Empty while nothing was generated yet: commands that only read code run; `config.checks` stops all others.
PARLEY_MASTER_KEY = _secret(env.parley_master_key, "master_key")
PARLEY_KEY_PEPPER = _secret(env.parley_key_pepper, "key_pepper")
PARLEY_JWT_KEY = _secret(env.parley_jwt_key, "jwt_key")
# Django signs nothing for Parley; it insists on a key all the same.
SECRET_KEY = PARLEY_JWT_KEY or "no-secrets-yet"

ALLOWED_HOSTS = list(env.allowed_hosts)
ALLOWED_ORIGINS = frozenset(env.parley_allowed_origins)
TRUSTED_PROXIES = env.trusted_proxies
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.trusted_proxies else None

INSTALLED_APPS = [
    # Ahead of the app for static files, whose `runserver` it replaces.
    "config",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_standardized_errors",
    "django_structlog",
    "csp",
    "kernel",
    "tenants",
    "billing",
    "providers",
    "chat",
]

MIDDLEWARE = [
    "kernel.middleware.RequestIdMiddleware",
    "kernel.middleware.RequestLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # Before the static files, which would go out without these headers.
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {},
    }
]

# --- stores -----------------------------------------------------------------------------------------------------------

_database_url = env.database_url.get_secret_value() if env.database_url else home.database_url()
DATABASES = django_databases(
    DatabaseUrls(
        main=_database_url,
        owner=env.database_owner_url.get_secret_value() if env.database_owner_url else None,
        platform=env.database_platform_url.get_secret_value() if env.database_platform_url else None,
    ),
    conn_max_age_s=60,
)
DATABASE_CONNECT_TIMEOUT_S = 5
ADB_POOL_MAX_SIZE = 16
ADB_POOL_WAIT_S = 5.0
ADB_POOL_MAX_WAITING = 1000

REDIS_URL = env.redis_url.get_secret_value() if env.redis_url else home.redis_url()
REDIS_CACHE_URL = env.redis_cache_url.get_secret_value() if env.redis_cache_url else REDIS_URL
REDIS_MAX_CONNECTIONS = 200
REDIS_TIMEOUT_S = 2.0
REDIS_PATIENCE_S = 0.1

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "parley:control"},
    }
}

# --- HTTP -------------------------------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
V1_BODY_MAX_BYTES = 32 * 1024 * 1024
FILE_MAX_BYTES = 200 * 1024 * 1024
FILES_PER_TENANT_MAX = 10_000
FILES_QUOTA_BYTES = 10 * 1024**3
UPLOADS_AT_ONCE = 16
UPLOAD_WAIT_S = 30.0
UPLOAD_MAX_S = 1800.0

WEB_DIST = ROOT / "platform" / "web" / "dist"
STATIC_URL = "static/"
WHITENOISE_ROOT = str(WEB_DIST) if WEB_DIST.is_dir() else None
WHITENOISE_KEEP_ONLY_HASHED_FILES = False


def WHITENOISE_IMMUTABLE_FILE_TEST(path: str, url: str) -> bool:  # noqa: N802 - a setting's name
    """Vite puts the content's hash into the names of everything below /assets."""
    return url.startswith("/assets/")


CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["kernel.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "kernel.api.schema.Schema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": False,
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "kernel.api.errors.Handler",
    "EXCEPTION_FORMATTER_CLASS": "kernel.api.errors.Formatter",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Parley",
    "DESCRIPTION": "Conversations with language models, for people and programs. Errors come in one envelope.",
    "VERSION": "1",
    "SERVE_PUBLIC": True,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "AUTHENTICATION_WHITELIST": ["tenants.api.authentication.BearerAuthentication"],
    "ENUM_NAME_OVERRIDES": {
        "RoomKind": ["private", "shared"],
        "FeedbackRating": ["up", "down"],
        "AuthorKind": ["member", "model", "imported"],
        "TransferState": ["queued", "running", "complete", "failed"],
        "RoomRole": ["owner", "moderator", "member", "reader"],
        "TenantRole": ["owner", "admin", "billing", "member", "viewer"],
        "GenerationStatus": ["queued", "streaming", "complete", "stopped", "failed", "interrupted"],
        "AttemptStatus": ["complete", "stopped", "failed", "interrupted"],
        "ApiKeyStatus": ["active", "revoked", "expired"],
        "Priority": ["interactive", "normal", "batch"],
        "DeliveryStatus": ["pending", "delivered", "failed"],
        "LimitSubject": ["tenant", "api_key", "model"],
    },
}

# --- egress: what tenants may have called -------------------------------------------------------------------------------

# Addresses here may be called though they aren't public, over http and at any port too. Operators set it; see docs/access.md.
EGRESS_ALLOWED_NETWORKS = env.parley_egress_allowed_networks
EGRESS_PORTS = tuple(map(int, env.parley_egress_ports))

# --- e-mail -----------------------------------------------------------------------------------------------------------

PUBLIC_URL = env.parley_public_url or ""
SMTP_HOST = env.smtp_host or ""
SMTP_PORT = env.smtp_port
SMTP_TLS = env.smtp_tls
SMTP_USER = env.smtp_user or ""
SMTP_PASSWORD = env.smtp_password.get_secret_value() if env.smtp_password else ""
SMTP_FROM = env.smtp_from or ""
SMTP_TIMEOUT_S = 10.0

# --- identity ---------------------------------------------------------------------------------------------------------

PASSWORD_HASHERS = ["tenants.passwords.Argon2Hasher"]
PASSWORD_MIN_CHARS = 10
PASSWORD_MAX_CHARS = 256
PASSWORD_HASHING_THREADS = 2
ACCESS_TOKEN_S = 300
REFRESH_TOKEN_S = 30 * 24 * 3600
REFRESH_REPLAY_GRACE_S = 10
WS_TICKET_S = 30
LOGIN_ATTEMPTS_PER_ACCOUNT = 10
LOGIN_ATTEMPTS_PER_ADDRESS = 50
LOGIN_WINDOW_S = 300
API_KEYS_PER_TENANT_MAX = 1000
WEBHOOKS_PER_TENANT_MAX = 20
GROUPS_PER_TENANT_MAX = 1000
GROUPS_PER_MEMBER_MAX = 100
KEY_RECORD_TTL_S = 5.0
EPOCH_TTL_S = 60
TOKEN_ISSUER = "parley"
TOKEN_AUDIENCE = "parley-api"
TOKEN_LEEWAY_S = 5
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=ACCESS_TOKEN_S),
    "ALGORITHM": "HS256",
    "SIGNING_KEY": SECRET_KEY,
    "USER_ID_CLAIM": "sub",
    "USER_ID_FIELD": "id",
}

# --- Celery -----------------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = broker_url(env.celery_broker_url.get_secret_value() if env.celery_broker_url else REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 270
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 10}
CELERY_TASK_DEFAULT_QUEUE = "parley"
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_SCHEDULER = "config.beat.Scheduler"
CELERY_BEAT_SCHEDULE = {
    "reap-generations": {"task": "chat.reap_generations", "schedule": timedelta(seconds=1)},
    "expire-messages": {"task": "chat.expire_messages", "schedule": timedelta(minutes=5)},
    "find-transfers": {"task": "chat.find_transfers", "schedule": timedelta(seconds=2)},
    "expire-attachments": {"task": "chat.expire_attachments", "schedule": timedelta(minutes=1)},
    "expire-requests": {"task": "providers.expire_requests", "schedule": timedelta(hours=1)},
    "expire-cache": {"task": "providers.expire_cache", "schedule": timedelta(minutes=5)},
    "calibrate-caches": {"task": "providers.calibrate_caches", "schedule": timedelta(hours=24)},
    "expire-responses": {"task": "providers.expire_responses", "schedule": timedelta(hours=1)},
    "find-batches": {"task": "providers.find_batches", "schedule": timedelta(seconds=2)},
    "expire-files": {"task": "providers.expire_files", "schedule": timedelta(hours=1)},
    "refresh-models": {"task": "providers.refresh_models", "schedule": timedelta(hours=1)},
    "reap-holds": {"task": "billing.reap_holds", "schedule": timedelta(seconds=10)},
    "renew-subscriptions": {"task": "billing.renew_subscriptions", "schedule": timedelta(minutes=1)},
    "expire-credit": {"task": "billing.expire_credit", "schedule": timedelta(minutes=1)},
    "tell-of-expiring-credit": {"task": "billing.tell_of_expiring_credit", "schedule": timedelta(hours=6)},
    "make-invoices": {"task": "billing.make_invoices", "schedule": timedelta(minutes=1)},
    "tell-alerts": {"task": "billing.tell_alerts", "schedule": timedelta(seconds=3)},
    "relay-outbox": {"task": "kernel.relay_outbox", "schedule": timedelta(seconds=1)},
    "expire-outbox": {"task": "kernel.expire_outbox", "schedule": timedelta(hours=1)},
    "expire-idempotency-keys": {"task": "kernel.expire_idempotency_keys", "schedule": timedelta(hours=1)},
    "expire-sessions": {"task": "tenants.expire_sessions", "schedule": timedelta(hours=1)},
    "expire-deliveries": {"task": "tenants.expire_deliveries", "schedule": timedelta(hours=12)},
    "expire-notices": {"task": "tenants.expire_notices", "schedule": timedelta(hours=12)},
    "roll-up": {"task": "billing.roll_up", "schedule": timedelta(seconds=5)},
    "verify-books": {"task": "billing.verify", "schedule": crontab(hour=3, minute=30)},
    "make-partitions": {"task": "billing.make_partitions", "schedule": timedelta(hours=12)},
}

# --- providers --------------------------------------------------------------------------------------------------------

SOCKETS_PER_PROCESS = env.parley_sockets_per_process
SOCKETS_PER_TENANT = env.parley_sockets_per_tenant
UPSTREAM_CONNECT_S = env.parley_upstream_connect_s
UPSTREAM_FIRST_TOKEN_S = env.parley_upstream_first_token_s
UPSTREAM_BETWEEN_TOKENS_S = env.parley_upstream_between_tokens_s
UPSTREAM_TOTAL_S = env.parley_upstream_total_s

LLM_PRIMARY_PROVIDER = env.llm_primary_provider
LLM_FALLBACK_PROVIDERS = env.llm_fallback_providers
PROVIDER_VARIABLES = provider_variables()
REGION = env.parley_region

CONNECTIONS_PER_TENANT_MAX = 1_000
DEPLOYMENTS_PER_CONNECTION_MAX = 500
CONNECTION_TRIALS_PER_MINUTE = 30
DEDUPE_WINDOW_S = 1.0
CACHE_MEMORY_BYTES = env.parley_cache_memory_mib * 1024 * 1024
DEFAULT_RPM = env.parley_default_rpm
DEFAULT_TPM = env.parley_default_tpm
WEB_PROCESSES = env.parley_web_processes
RATE_LIMITS_PER_TENANT_MAX = 1000
RATE_LIMITS_TTL_S = 5.0

BATCH_LINES_MAX = 50_000
BATCH_LINES_AT_ONCE = 8
BATCHES_RUNNING_MAX = 100
# Of a worker's threads, so many may be busy with batches; each gives its batch up to the next after a turn.
BATCH_TURNS_PER_WORKER = 2
BATCH_TURN_S = 20.0

LOCAL_MODEL_URL = env.parley_local_model_url
LOCAL_MODEL_KEY = env.parley_local_model_key.get_secret_value() if env.parley_local_model_key else ""

# --- payments ---------------------------------------------------------------------------------------------------------

STRIPE_SECRET_KEY = env.parley_stripe_secret_key.get_secret_value() if env.parley_stripe_secret_key else ""
STRIPE_WEBHOOK_SECRET = env.parley_stripe_webhook_secret.get_secret_value() if env.parley_stripe_webhook_secret else ""
STRIPE_API_BASE = env.parley_stripe_api_base or ""

# --- telemetry --------------------------------------------------------------------------------------------------------

OTLP_ENDPOINT = env.otel_exporter_otlp_endpoint
# Whoever has one of these links needs nothing else: of their paths logs say no more than this.
SECRET_PATHS = ("/share/", "/api/v1/shared/", "/api/v1/downloads/")
LOGGING = logging_config(level=env.log_level, style=env.log_format)
DJANGO_STRUCTLOG_CELERY_ENABLED = True
# The id that it is to trust was minted by our own middleware, ahead of it; addresses we read ourselves.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
LOGGING_CONFIG = "logging.config.dictConfig"

PARLEY_HOME = Path(home.path)
# Each process's own files; they must outlive it.
JOURNAL_FOLDER = PARLEY_HOME / "journal"

# Uploaded files, and those that batches make. Every process must see the same storage.
STORAGES = {
    "files": file_storage(env, PARLEY_HOME / "files"),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# Addresses are unique whatever their case: a functional constraint, which this check doesn't see.
SILENCED_SYSTEM_CHECKS = ["auth.E003"]

# --- invoices ---------------------------------------------------------------------------------------------------------

SELLER_NAME = env.parley_seller_name
SELLER_ADDRESS = env.parley_seller_address
SELLER_TAX_ID = env.parley_seller_tax_id
SELLER_EMAIL = env.parley_seller_email
TAX_NAME = env.parley_tax_name
TAX_BPS = int(env.parley_tax_percent * 100)
INVOICE_DUE_DAYS = env.parley_invoice_due_days
INVOICE_REVIEW_HOURS = env.parley_invoice_review_hours
INVOICE_NOTE = env.parley_invoice_note
INVOICE_FONTS = env.parley_invoice_fonts
