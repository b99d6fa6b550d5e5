"""What a key is let do here, and where it is stopped, goes on to its successor."""

from django.conf import settings
from django.db import transaction

from kernel.errors import Conflict
from kernel.ids import uuid7
from providers.models import RateLimit, RouteAccess
from providers.routes import forget_routes
from tenants.epochs import announce_limits
from tenants.models import ApiKey


def pass_terms_on(old: ApiKey, new: ApiKey) -> None:
    """Give a key's successor its limit, and the models that are for it. The old one keeps them until its end. Raises `Conflict`
    where that is one limit too many."""
    for limit in RateLimit.objects.filter(api_key_id=old.id):
        if RateLimit.objects.count() >= settings.RATE_LIMITS_PER_TENANT_MAX:
            raise Conflict(f"This tenant has {settings.RATE_LIMITS_PER_TENANT_MAX} limits; lift some first.")
        limit.pk, limit.api_key_id = uuid7(), new.id
        limit._state.adding = True
        limit.save(force_insert=True)
        announce_limits(new.tenant_id)
    RouteAccess.objects.bulk_create(
        RouteAccess(
            tenant_id=row.tenant_id, route_id=row.route_id, platform_route_id=row.platform_route_id, api_key_id=new.id
        )
        for row in RouteAccess.objects.filter(api_key_id=old.id)
    )
    transaction.on_commit(lambda: forget_routes(new.tenant_id))
