"""Telling a tenant that its semantic cache was wrong too often."""

from kernel.outbox import Message
from tenants.notifications import Audience, notify

EVENT = "cache.breached"
LINK = "/console/cache"
MANAGE = "providers.manage"


def tell_of_breach(message: Message) -> None:
    """The consumer of `providers.cache.semantic.audits.TOPIC`: tell those who look after the cache what audits found."""
    goes_on = bool(message.payload["goes_on"])
    notify(
        tenant_id=message.tenant_id,
        topic=EVENT,
        once_key=f"{EVENT} {message.id}",
        audience=Audience(permission=MANAGE),
        subject="The semantic cache was made stricter" if goes_on else "The semantic cache was switched off",
        text=str(message.payload["text"]),
        link=LINK,
        data={"goes_on": goes_on},
    )
