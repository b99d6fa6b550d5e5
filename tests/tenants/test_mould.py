"""The companies that tests have are those that the services would make: `tests/support/mould.py` copies what these wrote."""

import re
import secrets
import uuid

from django.db import transaction
from django.test import Client

from kernel.tenancy import tenant_scope
from tenants.models import ApiKey, Tenant
from tests.support.cast import PASSWORD, found_by_services, found_company
from tests.support.mould import Rows, rows_of
from tests.support.servers import database_url

NEW = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # an id
    r"|\d{4}-\d\d-\d\dT[\d:.]+\+00:00"  # a time
    r"|\\x[0-9a-f]{64}"  # a key's digest
    r"|\$argon2id\$[^ ]*"
)
OF_A_KEY = ("hint", "lookup_id")


def plain(slug: str, tenant_id: uuid.UUID) -> dict[str, list[list[tuple[str, object]]]]:
    """A company's rows, with a word in the place of what is new in each; what is equal within them stays so."""
    seen: dict[str, str] = {}

    def named(text: str) -> str:
        told = NEW.sub(lambda found: seen.setdefault(found[0], f"<{len(seen)}>"), text)
        return told.replace(slug, "<slug>")

    rows: Rows = rows_of(database_url("test_parley"), tenant_id)
    return {
        table: [
            sorted((name, named(str(value))) for name, value in row.items() if name not in OF_A_KEY)
            for row in sorted(rows[table], key=lambda row: str(row.get("id", row.get("person_id"))))
        ]
        for table in sorted(rows)
    }


def test_a_copied_company_is_as_the_services_make_it() -> None:
    slug, copied = f"by-services-{secrets.token_hex(4)}", found_company(f"by-mould-{secrets.token_hex(4)}")
    made = plain(slug, found_by_services(slug).id)
    assert plain(copied.tenant.slug, copied.id) == made
    assert {"tenants_tenant", "tenants_person", "tenants_credential", "tenants_membership"} < made.keys()


def test_its_tenant_is_the_stored_one() -> None:
    company = found_company(f"stored-{secrets.token_hex(4)}")
    stored = Tenant.objects.using("platform").get(id=company.id)
    assert {field: getattr(company.tenant, field) for field in fields()} == {
        field: getattr(stored, field) for field in fields()
    }


def fields() -> list[str]:
    return [field.attname for field in Tenant._meta.fields]


def test_two_have_nothing_in_common_but_their_form() -> None:
    one, other = (found_company(f"two-{secrets.token_hex(4)}") for _ in range(2))
    assert one.tenant.slug != other.tenant.slug
    ids = [
        found
        for company in (one, other)
        for actor in (company.alice, company.bob, company.vera)
        for found in (actor.person_id, actor.membership_id, actor.tenant_id)
    ]
    assert len(set(ids)) == 14
    assert one.api_key != other.api_key


def test_its_key_and_its_passwords_work() -> None:
    company = found_company(f"works-{secrets.token_hex(4)}")
    client = Client()
    answer = client.get("/api/v1/me", headers={"Authorization": f"Bearer {company.api_key}"})
    assert answer.status_code == 200, answer.content
    with tenant_scope(company.id), transaction.atomic():
        assert ApiKey.objects.get().membership_id == company.alice.membership_id
    for actor in (company.alice, company.bob, company.vera):
        body = {"email": actor.email, "password": PASSWORD}
        answer = client.post("/api/v1/auth/login", body, content_type="application/json")
        assert answer.status_code == 200, answer.content
