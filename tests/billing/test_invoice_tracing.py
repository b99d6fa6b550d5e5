"""From a line of an invoice to its requests, the versions of their prices, and what the provider said."""

from datetime import timedelta
from typing import Any

from billing.invoices.tracing import prices_of, records_of
from billing.ledger import settle
from billing.models import InvoiceLine, TenantPrice
from billing.pricing import charge
from billing.tariffs import set_prices
from billing.types import Tokens
from kernel.ids import uuid7
from kernel.loop import on_loop
from tests.billing.events import usage_event
from tests.billing.invoice_support import CENT, FEB, JAN, billed, opened, spend
from tests.billing.plan_support import inside
from tests.billing.tariff_support import tariff_in_book
from tests.support.cast import Company


def test_a_line_leads_to_its_requests_their_prices_and_the_providers_words_in_two_queries(
    company: Company, django_assert_num_queries: Any
) -> None:
    opened(company)
    one, other = uuid7(), uuid7()
    for number in range(3):
        spend(company.alice, CENT + number, JAN, price=one, provider_usage={"said": number})
    spend(company.alice, CENT, JAN, price=other)
    spend(company.alice, CENT, JAN, price=one, alias="another")
    spend(company.alice, CENT, JAN + timedelta(days=1), price=one)
    made = billed(company, FEB)
    with inside(company):
        all_lines = list(InvoiceLine.objects.filter(invoice=made, kind="usage"))
        assert len(all_lines) == 4
        line = next(line for line in all_lines if line.attempts == 3)
        assert line.prices == [one]
        with django_assert_num_queries(2):
            records = records_of(line, limit=10)
            prices = prices_of(records)
        assert [record.provider_usage["said"] for record in records] == [0, 1, 2]
        assert sum(record.sell_nano for record in records) == line.amount_nano
        assert prices == {}
        assert [len(records_of(line, limit=2)), len(records_of(line, after=records[1].id, limit=2))] == [2, 1]
        assert sum(len(records_of(other_line, limit=10)) for other_line in all_lines) == 6


def test_a_line_leads_to_the_versions_of_the_prices_it_was_charged_by(company: Company) -> None:
    """A price that changed during the day makes two lines, and each leads to its own. What they say is what was charged."""
    opened(company)
    model, tokens = f"traced/{uuid7()}", Tokens(input=7_003, output=11)
    versions = [
        tariff_in_book(model, input_nano_per_mtok=cents * CENT, output_nano_per_mtok=cents * 3 * CENT, since=since)
        for cents, since in ((10, JAN), (25, JAN + timedelta(hours=12)))
    ]
    for number, tariff in enumerate((versions[0], versions[0], versions[1])):
        at = JAN + timedelta(hours=6 * number)
        event = usage_event(
            company.alice, at=at, request_id=uuid7(), tokens=tokens, charge=charge(tokens, tariff), model=model
        )
        on_loop(settle(None, [event]))
    made = billed(company, FEB)
    with inside(company):
        of_usage = list(InvoiceLine.objects.filter(invoice=made, kind="usage").order_by("attempts"))
        assert [line.attempts for line in of_usage] == [1, 2]
        for line, tariff, cents, since in (
            (of_usage[1], versions[0], 10, JAN),
            (of_usage[0], versions[1], 25, JAN + timedelta(hours=12)),
        ):
            records = records_of(line, limit=10)
            prices = prices_of(records)
            asked = {str(tariff.rates[meter].price_id): times for meter, times in (("input", 1), ("output", 3))}
            assert {str(one) for one in line.prices} == prices.keys() == asked.keys()
            for price_id, version in prices.items():
                assert version.effective_from == since
                assert version.sell_nano_per_mtok == cents * asked[price_id] * CENT
            for record in records:
                by_versions = (
                    part["tokens"] * prices[part["price"]].sell_nano_per_mtok for part in record.charge_lines
                )
                assert record.sell_nano * 1_000_000 == sum(by_versions)
            assert line.amount_nano == sum(record.sell_nano for record in records)


def test_a_line_leads_to_no_price_of_another_tenants(company: Company, neighbour: Company) -> None:
    model = f"traced/{uuid7()}"
    for tenant in (company, neighbour):
        with inside(tenant):
            set_prices(
                model=model,
                input_nano_per_mtok=CENT,
                output_nano_per_mtok=CENT,
                tenant_id=tenant.id,
                using="default",
                effective_from=JAN,
            )
    with inside(neighbour):
        theirs = TenantPrice.objects.get(model=model, meter="output").id
    with inside(company):
        ours = TenantPrice.objects.get(model=model, meter="output").id
    opened(company)
    for price in (ours, theirs):
        spend(company.alice, CENT, JAN, price=price)
    made = billed(company, FEB)
    with inside(company):
        found = [
            prices_of(records_of(line, limit=10)) for line in InvoiceLine.objects.filter(invoice=made, kind="usage")
        ]
    assert sorted(len(prices) for prices in found) == [0, 1]
    assert [*found[0], *found[1]] == [str(ours)]
