"""With the scope `group`, those who are in the same groups share answers, and nobody else."""

from asgiref.sync import sync_to_async
from django.db import transaction

from tenants.models import Membership
from tenants.services.api_keys import issue_key
from tests.providers.cache.conftest import House
from tests.support.cast import Actor, Company
from tests.tenants.test_groups import make, put_in, take_out
from tests.tenants.test_members import join


def key_of(company: Company, member: Actor) -> str:
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        return issue_key(membership=Membership.objects.get(id=member.membership_id), name="k").text


async def cache_of(house: House, key: str, prompt: str) -> str:
    said: str = (await house.ask(prompt, credential=key)).headers["x-parley-cache"]
    return said


async def test_members_of_one_group_share_and_others_do_not(house: House) -> None:
    company = house.company
    carol = await sync_to_async(join)(company, "member", "carol")
    dora = await sync_to_async(join)(company, "member", "dora")
    research = await sync_to_async(make)(company.alice, "Research")
    sales = await sync_to_async(make)(company.alice, "Sales")
    for group, member in ((research, company.bob), (research, carol), (sales, dora)):
        assert await sync_to_async(put_in)(company.alice.client, group, member) == 201
    alices, bobs, carols, doras = [
        await sync_to_async(key_of)(company, member) for member in (company.alice, company.bob, carol, dora)
    ]
    await house.rest("PATCH", "cache", {"sharing": "group"})
    assert await cache_of(house, bobs, "Ours") == "miss"
    assert await cache_of(house, carols, "Ours") == "exact"
    assert await cache_of(house, doras, "Ours") == "miss", "another group"
    assert await cache_of(house, alices, "Ours") == "miss", "no group at all"
    assert house.asked == 3
    assert await sync_to_async(put_in)(company.alice.client, sales, carol) == 201
    assert await cache_of(house, carols, "Ours") == "miss", "more groups than the other"
    assert await sync_to_async(take_out)(company.alice.client, sales, carol) == 204
    assert await cache_of(house, carols, "Ours") == "exact"


async def test_who_is_in_no_group_shares_with_nobody(house: House) -> None:
    company = house.company
    keys = [await sync_to_async(key_of)(company, member) for member in (company.alice, company.bob)]
    await house.rest("PATCH", "cache", {"sharing": "group"})
    assert [await cache_of(house, key, "Mine") for key in keys] == ["miss", "miss"]
    assert [await cache_of(house, key, "Mine") for key in keys] == ["exact", "exact"]


async def test_groups_count_for_nothing_in_the_other_scopes(house: House) -> None:
    company = house.company
    group = await sync_to_async(make)(company.alice)
    assert await sync_to_async(put_in)(company.alice.client, group, company.bob) == 201
    alices, bobs = [await sync_to_async(key_of)(company, member) for member in (company.alice, company.bob)]
    await house.rest("PATCH", "cache", {"sharing": "tenant"})
    assert [await cache_of(house, key, "Everybody's") for key in (alices, bobs)] == ["miss", "exact"]
    await house.rest("PATCH", "cache", {"sharing": "principal"})
    assert await sync_to_async(put_in)(company.alice.client, group, company.alice) == 201
    assert [await cache_of(house, key, "One's own") for key in (alices, bobs)] == ["miss", "miss"]
