"""Who pays, who sells, and at which tax."""

from dataclasses import asdict, dataclass

from django.conf import settings

from billing.models import BillingProfile
from kernel.errors import InvalidRequest
from kernel.tenancy import current_tenant_id
from tenants.models import Tenant
from tenants.principals import Principal
from tenants.services.audit import record

LINES_MAX = 8
"""Of an address."""


@dataclass(frozen=True, slots=True)
class Party:
    """A seller or a buyer, as an invoice names it."""

    name: str
    address: str = ""
    country: str = ""
    tax_id: str = ""
    email: str = ""
    reference: str = ""

    def body(self) -> dict[str, str]:
        """As an invoice keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a tenant is taxed, in hundredths of a percent, and within how many days it pays."""

    tax_bps: int
    tax_name: str
    tax_note: str
    due_days: int


def profile() -> BillingProfile:
    """The tenant's; an empty one, not saved, where it has none."""
    return BillingProfile.objects.filter(key="default").first() or BillingProfile(tenant_id=current_tenant_id())


def buyer() -> Party:
    """The tenant, as it wants to be named."""
    known = profile()
    name = known.name or Tenant.objects.values_list("name", flat=True).get(id=current_tenant_id())
    return Party(name, known.address, known.country, known.tax_id, known.email, known.reference)


def seller() -> Party:
    """Whoever runs the platform."""
    return Party(
        name=settings.SELLER_NAME,
        address=settings.SELLER_ADDRESS.replace("|", "\n"),
        tax_id=settings.SELLER_TAX_ID,
        email=settings.SELLER_EMAIL,
    )


def terms() -> Terms:
    """The tenant's terms: its own where the operator set some."""
    known = profile()
    return Terms(
        tax_bps=settings.TAX_BPS if known.tax_bps is None else known.tax_bps,
        tax_name=settings.TAX_NAME,
        tax_note=known.tax_note,
        due_days=settings.INVOICE_DUE_DAYS if known.due_days is None else known.due_days,
    )


def describe(party: Party, *, actor: Principal | None = None) -> BillingProfile:
    """Say who invoices are for from now on; those that are final stay as they are. Raises `InvalidRequest`."""
    lines = party.address.splitlines()
    texts = (party.name, party.country, party.tax_id, party.email, party.reference, *lines)
    if len(lines) > LINES_MAX or not all(text.isprintable() for text in texts):
        raise InvalidRequest(
            f"address: at most {LINES_MAX} lines, of printable characters.", details={"param": "address"}
        )
    known = _profile_to_change()
    for name, value in party.body().items():
        setattr(known, name, value)
    known.save()
    record(action="billing_profile.changed", subject_kind="billing_profile", subject_id=known.id, actor=actor)
    return known


def set_terms(*, tax_bps: int | None, tax_note: str, due_days: int | None) -> BillingProfile:
    """What the operator says of a tenant's tax and time to pay, for invoices to come; None is as for everybody."""
    known = _profile_to_change()
    known.tax_bps, known.tax_note, known.due_days = tax_bps, tax_note, due_days
    known.save()
    data = {"tax_bps": tax_bps, "tax_note": tax_note, "due_days": due_days}
    record(action="billing_profile.terms", subject_kind="billing_profile", subject_id=known.id, data=data)
    return known


def _profile_to_change() -> BillingProfile:
    """The tenant's, made at first use, and locked: what the tenant says and what the operator says don't undo each other."""
    BillingProfile.objects.get_or_create(tenant_id=current_tenant_id(), key="default")
    return BillingProfile.objects.select_for_update().get(key="default")
