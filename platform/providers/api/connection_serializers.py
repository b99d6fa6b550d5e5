"""The shapes of connections in REST."""

from typing import Any

from rest_framework import serializers

from kernel.api.serializers import StrictSerializer
from providers.models import Connection, Deployment
from providers.prompt_formats import PROMPT_FORMATS
from providers.services.own_connections import MAX_SECRET_CHARS, secret_hint
from providers.services.trial import Trial

MAX_NANO_PER_MTOK = 10**15
"""A million dollars for a million tokens."""


class ConnectionInput(StrictSerializer):
    """A new connection."""

    name = serializers.CharField(min_length=1, max_length=64)
    kind = serializers.CharField(max_length=64, help_text="What provider it is at.")
    base_url = serializers.CharField(
        max_length=500, required=False, allow_null=True, help_text="The provider's usual address if absent."
    )
    secret = serializers.CharField(
        max_length=MAX_SECRET_CHARS,
        required=False,
        allow_null=True,
        write_only=True,
        trim_whitespace=False,
        help_text="The key at the provider. It is never shown again.",
    )
    region = serializers.CharField(
        max_length=32, required=False, allow_blank=True, help_text="Where it computes, such as eu-central-1."
    )


class ConnectionUpdateInput(StrictSerializer):
    """What to change. Another address or kind needs the secret again; an empty secret takes it away."""

    name = serializers.CharField(min_length=1, max_length=64, required=False)
    kind = serializers.CharField(max_length=64, required=False)
    base_url = serializers.CharField(max_length=500, required=False, allow_blank=True)
    secret = serializers.CharField(
        max_length=MAX_SECRET_CHARS, required=False, allow_blank=True, write_only=True, trim_whitespace=False
    )
    region = serializers.CharField(max_length=32, required=False, allow_blank=True)


class ConnectionOutput(serializers.Serializer[Connection]):
    """A connection, without its secret."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    base_url = serializers.CharField()
    region = serializers.CharField(allow_blank=True, help_text="Empty if nobody said.")
    has_secret = serializers.BooleanField()
    secret_hint = serializers.CharField(
        allow_null=True, help_text="The secret's last 4 characters; empty for a short one, null without one."
    )
    created_at = serializers.DateTimeField()


class TrialInput(StrictSerializer):
    """What to try: a model, or without one the list of models."""

    model = serializers.CharField(max_length=200, required=False)


class TrialOutput(serializers.Serializer[Trial]):
    """How a test went."""

    ok = serializers.BooleanField()
    latency_ms = serializers.IntegerField()
    problem = serializers.CharField(allow_null=True, help_text="The class of what went wrong, to branch on.")
    reason = serializers.CharField(allow_null=True, help_text="The same for people.")
    models = serializers.IntegerField(allow_null=True, help_text="How many models the provider lists, if it was asked.")


class PublishedModelsOutput(serializers.Serializer[Connection]):
    """What a connection's provider last said that it serves."""

    models = serializers.ListField(child=serializers.CharField(), help_text="The provider's names, to deploy one of.")
    published_at = serializers.DateTimeField(allow_null=True, help_text="Null if it hasn't said yet.")


class DeploymentInput(StrictSerializer):
    """A model to offer."""

    model = serializers.CharField(max_length=200, help_text="The provider's name for it.")
    alias = serializers.CharField(max_length=200, required=False, help_text="What callers name it; `model` if absent.")
    input_nano_per_mtok = serializers.IntegerField(
        min_value=0, max_value=MAX_NANO_PER_MTOK, default=0, help_text="Nano-USD for a million tokens read."
    )
    output_nano_per_mtok = serializers.IntegerField(
        min_value=0, max_value=MAX_NANO_PER_MTOK, default=0, help_text="Nano-USD for a million tokens written."
    )
    prompt_format = serializers.CharField(
        max_length=32,
        required=False,
        allow_blank=True,
        help_text=f"For a model that only continues text: {', '.join(PROMPT_FORMATS)}.",
    )


class DeploymentUpdateInput(StrictSerializer):
    """What to change of a model."""

    prompt_format = serializers.CharField(
        max_length=32,
        required=False,
        allow_blank=True,
        help_text=f"{', '.join(PROMPT_FORMATS)}; empty for a model that takes conversations.",
    )


class DeploymentOutput(serializers.Serializer[Deployment]):
    """A model on a connection."""

    id = serializers.UUIDField()
    model = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField())
    prompt_format = serializers.CharField(allow_blank=True, help_text="Empty for a model that takes conversations.")
    created_at = serializers.DateTimeField()


def connection_body(row: Connection) -> dict[str, Any]:
    """`ConnectionOutput`."""
    return {
        "id": str(row.id),
        "name": row.name,
        "kind": row.kind,
        "base_url": row.base_url,
        "region": row.region,
        "has_secret": row.secret is not None,
        "secret_hint": secret_hint(row),
        "created_at": row.created_at,
    }


def trial_body(trial: Trial) -> dict[str, Any]:
    """`TrialOutput`."""
    return {
        "ok": trial.problem is None,
        "latency_ms": trial.latency_ms,
        "problem": trial.problem,
        "reason": trial.reason,
        "models": trial.models,
    }


def published_body(row: Connection) -> dict[str, Any]:
    """`PublishedModelsOutput`."""
    return {"models": row.published_models or [], "published_at": row.published_at}


def deployment_body(row: Deployment, aliases: list[str]) -> dict[str, Any]:
    """`DeploymentOutput`."""
    return {
        "id": str(row.id),
        "model": row.model,
        "aliases": aliases,
        "prompt_format": row.prompt_format,
        "created_at": row.created_at,
    }
