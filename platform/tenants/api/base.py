"""What views that act for somebody share."""

from typing import cast

from rest_framework.request import Request

from tenants.principals import Principal


def principal_of(request: Request) -> Principal:
    """The authenticated caller."""
    return cast("Principal", request.auth)
