"""Django's own tables."""

from tests.isolation.rules import Global, Rules

_UNUSED = "made by django.contrib.auth, which brings AbstractBaseUser; nothing reads it"

RULES = Rules(
    global_tables={
        "django_migrations": Global("which migrations ran; readiness compares it", app=frozenset({"SELECT"})),
        "django_content_type": Global(_UNUSED),
        "auth_permission": Global(_UNUSED),
        "auth_group": Global(_UNUSED),
        "auth_group_permissions": Global(_UNUSED),
    },
    extensions={"plpgsql": "PostgreSQL's own", "vector": "distances of the semantic cache; makes no table"},
)
