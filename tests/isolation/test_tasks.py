"""Tasks know their tenant from the message, and a worker without one does nothing."""

import uuid

import pytest
from celery import shared_task
from django.db import transaction

from config.celery import app
from kernel.tasks import HEADER, PlatformTask, TenantTask
from kernel.tenancy import NoTenant, current_tenant_id, tenant_scope
from tenants.models import Tenant
from tests.support.cast import Company

ACROSS_TENANTS = {
    "kernel.relay_outbox": "messages that are due, whosever they are; each is worked on as its tenant",
    "kernel.expire_outbox": "messages whose time is over, whosever they are",
    "kernel.expire_idempotency_keys": "keys whose day is over, whosever they are",
    "tenants.expire_sessions": "refresh tokens whose time is over, whosever they are",
    "tenants.expire_deliveries": "what endpoints were told long ago, whosever they are",
    "tenants.expire_notices": "what was told long ago, whosever it is",
    "chat.reap_generations": "generations whose process died, whosever they are",
    "chat.expire_messages": "messages whose time is over, whosever they are; each tenant's are deleted as itself",
    "chat.expire_attachments": "files, exports and imports whose time is over, whosever they are",
    "chat.find_transfers": "exports and imports that wait for a worker, whosever they are; each runs as its tenant",
    "providers.expire_requests": "what was captured goes when its time is over, whosever it is",
    "providers.expire_cache": "answers whose time is over, whosever they are",
    "providers.calibrate_caches": "tenants whose semantic cache is on; each is calibrated as its tenant",
    "providers.expire_responses": "responses whose time is over, whosever they are",
    "providers.find_batches": "batches that wait for a worker, whosever they are; each runs as its tenant",
    "providers.expire_files": "files whose time is over, whosever they are",
    "providers.refresh_models": "sends each tenant a task of its own, and one for the platform's connections",
    "providers.refresh_platform_models": "asks for the platform's connections alone",
    "billing.reap_holds": "holds whose process died, whosever they are",
    "billing.roll_up": "tenants with new usage are found together; each is rolled up as itself",
    "billing.verify": "every tenant's books, each verified as itself",
    "billing.renew_subscriptions": "subscriptions that are due, whosever they are; each is looked after as its tenant",
    "billing.expire_credit": "credit whose time is over, whosever it is; it expires as its tenant",
    "billing.tell_of_expiring_credit": "credit that expires soon, whosever it is; it is told as its tenant",
    "billing.tell_alerts": "budgets that passed a threshold, whosever they are; each is told as its tenant",
    "billing.make_invoices": "invoices that are due, whosever they are; each is made, and told of, as its tenant",
    "billing.make_partitions": "partitions hold every tenant's rows",
}


@shared_task(name="tests.seen_tenants", base=TenantTask)
def seen_tenants() -> list[str]:
    with transaction.atomic():
        return [str(tenant.id) for tenant in Tenant.objects.all()]


def test_every_task_is_a_tenants_or_a_listed_job() -> None:
    app.loader.import_default_modules()
    ours = {name: task for name, task in app.tasks.items() if not name.startswith(("celery.", "tests."))}
    for name, task in ours.items():
        assert isinstance(task, PlatformTask if name in ACROSS_TENANTS else TenantTask), name
    assert ACROSS_TENANTS.keys() <= ours.keys()


def test_a_task_runs_as_the_tenant_that_its_message_names(acme: Company, evil: Company) -> None:
    for company in (acme, evil):
        assert seen_tenants.apply(headers={HEADER: str(company.id)}).get() == [str(company.id)]
    with pytest.raises(NoTenant):
        current_tenant_id()


def test_a_message_without_a_tenant_fails_closed(acme: Company) -> None:
    with tenant_scope(acme.id), pytest.raises(NoTenant):
        # The scope of whoever runs the worker counts for nothing.
        seen_tenants.apply().get()
    with pytest.raises(ValueError, match="badly formed"):
        seen_tenants.apply(headers={HEADER: "' OR true"}).get()
    assert seen_tenants.apply(headers={HEADER: str(uuid.uuid4())}).get() == []


def test_nothing_is_sent_outside_a_tenant() -> None:
    with pytest.raises(NoTenant):
        seen_tenants.delay()
