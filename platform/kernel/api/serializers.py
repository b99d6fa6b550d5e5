"""Pieces that every app's serializers share."""

from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """Input of a command: a field that it doesn't know is an error, not silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(map(str, data)) - set(self.fields))):
            raise serializers.ValidationError(dict.fromkeys(unknown[:20], "There is no such field."))
        return super().to_internal_value(data)


class ErrorSerializer(serializers.Serializer[Any]):
    """The envelope of every error."""

    type = serializers.CharField(help_text="The family of the error, to branch on.")
    code = serializers.CharField(help_text="What exactly, stable.")
    message = serializers.CharField(help_text="For people.")
    request_id = serializers.CharField(help_text="To quote when asking for help.")
    details = serializers.JSONField(allow_null=True, help_text="For programs.")


def list_of(item: serializers.BaseSerializer[Any], name: str) -> type[serializers.Serializer[Any]]:
    """The serializer class of a short, whole list of `item`s, named `name` in the schema."""
    return type(name, (serializers.Serializer,), {"data": item})


def page_of(item: serializers.BaseSerializer[Any], name: str) -> type[serializers.Serializer[Any]]:
    """The serializer class of a page of `item`s, named `name` in the schema."""
    return type(
        name,
        (serializers.Serializer,),
        {
            "data": item,
            "next_cursor": serializers.CharField(allow_null=True, help_text="None at the end."),
        },
    )
