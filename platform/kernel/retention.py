"""What becomes of each table's rows when a person or a tenant goes: every table declares it here, and a test looks.

* *retain*: kept for as long as the law or the books need, because it names nobody or has to name them;
* *erase*: deleted;
* *pseudonymise*: kept, with whatever names a person replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Fate(StrEnum):
    """What happens to rows."""

    RETAIN = "retain"
    ERASE = "erase"
    PSEUDONYMISE = "pseudonymise"


@dataclass(frozen=True, slots=True)
class Retention:
    """A table's declaration."""

    fate: Fate
    reason: str


def _retain(reason: str) -> Retention:
    return Retention(Fate.RETAIN, reason)


def _erase(reason: str) -> Retention:
    return Retention(Fate.ERASE, reason)


def _pseudonymise(reason: str) -> Retention:
    return Retention(Fate.PSEUDONYMISE, reason)


_DJANGO = _retain("Django's own; holds no person's data")
_OFFER = _retain("an operator's offer; holds no person's data")
_CONFIGURATION = _erase("a tenant's settings, of no use without it")

RETENTION: Mapping[str, Retention] = MappingProxyType(
    {
        "contenttypes.ContentType": _DJANGO,
        "auth.Permission": _DJANGO,
        "auth.Group": _DJANGO,
        "kernel.OutboxMessage": _erase("tells of what is recorded elsewhere; gone 7 days after it was done"),
        "kernel.OutboxReceipt": _erase("goes with its message"),
        "kernel.IdempotencyKey": _erase("an answer kept to be given again; gone after a day"),
        "tenants.Tenant": _pseudonymise("invoices go on naming the account by its id"),
        "tenants.Person": _pseudonymise("messages and the audit go on naming an author, no longer whom"),
        "tenants.Credential": _erase("goes with the person"),
        "tenants.BuiltinRole": _retain("a list that ships with the code"),
        "tenants.Membership": _pseudonymise("holds ids alone; messages and bills go on naming it"),
        "tenants.Group": _CONFIGURATION,
        "tenants.GroupMember": _erase("goes with the member, or the group"),
        "tenants.ApiKey": _erase("a digest and a name, of no use without its member"),
        "tenants.RefreshToken": _erase("goes with the person, or 30 days after it ended"),
        "tenants.Notice": _erase("what somebody was told; gone after 400 days"),
        "tenants.Notification": _erase("goes with its notice, or the member"),
        "tenants.WebhookEndpoint": _erase("holds a tenant's secret"),
        "tenants.WebhookDelivery": _erase("what an endpoint was told; gone after 30 days"),
        "tenants.WebhookAttempt": _erase("goes with its delivery"),
        "tenants.AuditEvent": _pseudonymise("the trail outlives people; it holds their ids"),
        "billing.PriceBook": _OFFER,
        "billing.Price": _OFFER,
        "billing.TenantPrice": _retain("explains the amounts of usage that is kept"),
        "billing.Account": _retain("the books: amounts, no text"),
        "billing.Entry": _retain("the books: amounts and ids, no text"),
        "billing.Hold": _erase("gone when its request ends"),
        "billing.Budget": _CONFIGURATION,
        "billing.BudgetBalance": _erase("goes with its budget; the books say what was used"),
        "billing.Plan": _OFFER,
        "billing.Subscription": _retain("explains the fees in the books; holds no text"),
        "billing.PlanCharge": _retain("the books: amounts, no text"),
        "billing.Funds": _retain("the books: amounts, no text"),
        "billing.PaymentCustomer": _retain("the books name payments by it; holds an id alone"),
        "billing.Checkout": _erase("a page that was paid, or forgotten"),
        "billing.Payment": _retain("the books: amounts and the provider's ids"),
        "billing.PaymentReturn": _retain("the books: amounts and the provider's ids"),
        "billing.PaymentEvent": _retain("an id each, so that what was told once has no effect again"),
        "billing.CreditGrant": _retain("the books: amounts, and what an operator noted"),
        "billing.Alert": _erase("goes with its budget"),
        "billing.BillingProfile": _CONFIGURATION,
        "billing.Invoice": _retain("the law asks for them; they name the company that pays"),
        "billing.InvoiceLine": _retain("the books: amounts and ids, and the names of models and plans"),
        "billing.InvoicePayment": _retain("the books: amounts"),
        "billing.InvoiceSchedule": _CONFIGURATION,
        "billing.UsageRecord": _retain("the books: counts, amounts and ids, no text"),
        "billing.UsageRollup": _retain("sums of the usage that is kept"),
        "billing.RollupMark": _retain("how far those sums go"),
        "billing.Verification": _erase("what a check of the books found; the next one says it anew"),
        "chat.Room": _erase("a tenant's; of a member who goes, rooms pass to the others in them"),
        "chat.RoomMember": _pseudonymise("holds ids alone; what was seen until then"),
        "chat.Message": _pseudonymise("said to others, who keep it; the author is named no longer"),
        "chat.Generation": _pseudonymise("the answer belongs to the room; holds ids of people alone"),
        "chat.RoomEvent": _retain("the order of things, ids alone; goes with its room"),
        "chat.Reaction": _pseudonymise("under what was said to others; holds ids of people alone"),
        "chat.Summary": _erase("made of a room's messages; goes with them"),
        "chat.Feedback": _pseudonymise("what was thought of an answer; the member is named by an id alone"),
        "chat.Attachment": _erase("goes with its message, or after a day without one; its bytes within a minute"),
        "chat.Note": _erase("what a member was told, by ids; goes with the room, or after 90 days"),
        "chat.Transfer": _erase(
            "a member's own; an export's file is gone after a day, or when its room loses anything"
        ),
        "chat.CommandReceipt": _erase("of use to the member's own clients alone"),
        "chat.Preset": _erase("a member's own, gone with them; what they shared is the tenant's"),
        "chat.Prompt": _erase("a member's own, gone with them; what they shared is the tenant's"),
        "chat.RoomPolicy": _CONFIGURATION,
        "chat.Share": _erase("a copy of what was said; goes when that is deleted, and with its room"),
        "providers.PlatformConnection": _OFFER,
        "providers.PlatformDeployment": _OFFER,
        "providers.PlatformRoute": _OFFER,
        "providers.PlatformRouteTarget": _OFFER,
        "providers.Connection": _erase("holds a tenant's secret"),
        "providers.Deployment": _CONFIGURATION,
        "providers.Route": _CONFIGURATION,
        "providers.RouteTarget": _CONFIGURATION,
        "providers.ModelRole": _CONFIGURATION,
        "providers.GatewayPolicy": _CONFIGURATION,
        "providers.RequestLog": _erase("what somebody asked, where the tenant keeps it; expires by itself"),
        "providers.RouteAccess": _CONFIGURATION,
        "providers.CacheNamespace": _CONFIGURATION,
        "providers.CacheEntry": _erase("answers kept to be given again, encrypted; gone after their time to live"),
        "providers.SemanticEntry": _erase(
            "questions and answers kept to be given again, encrypted; gone after their time to live"
        ),
        "providers.SemanticUse": _erase("goes with its entry"),
        "providers.SemanticAudit": _erase("what was asked and compared, encrypted; gone after 90 days"),
        "providers.SemanticCalibration": _CONFIGURATION,
        "providers.File": _erase("what somebody uploaded, or had made"),
        "providers.Batch": _erase("of use to whoever made it alone; gone after 90 days"),
        "providers.BatchLine": _erase("answers on their way into a file"),
        "providers.RateLimit": _CONFIGURATION,
        "providers.StoredResponse": _erase("what one caller asked and was answered, encrypted; gone after 30 days"),
    }
)
"""Django's label of each model → its declaration."""
