"""Search finds what was said in one's own rooms, best first, and nothing else."""

import json
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from django.db import connections
from psycopg import errors

from chat.bounds import SEARCH_CHARS_MAX
from chat.search import Asked, Found, search_messages
from chat.services.members import add_member, remove_member
from chat.services.messages import send_message
from chat.services.rooms import create_room, delete_room
from chat.shapes import RoomShape
from kernel.errors import InvalidRequest
from kernel.ids import uuid7
from kernel.loop import on_loop
from tests.isolation.probes import undone
from tests.isolation.roles import APP_ROLE, connect, enter
from tests.support.cast import Actor, Company

SAMPLE_ROOMS = 128
"""Of more rooms, some tell how common a word is; what the function's migration says."""

MakeRoom = Callable[..., Coroutine[Any, Any, RoomShape]]


async def say(actor: Actor, room_id: uuid.UUID, *texts: str) -> list[uuid.UUID]:
    sent = [await send_message(member=actor.principal, room_id=room_id, text=text, generate=False) for text in texts]
    return [each.message.id for each in sent]


async def look(actor: Actor, words: str, *, limit: int = 20, after: str | None = None, **where: Any) -> Found:
    asked = Asked(words=words, **where)
    return await search_messages(member=actor.principal, asked=asked, limit=limit, after=after)


async def found(actor: Actor, words: str, **where: Any) -> list[uuid.UUID]:
    return [hit.message for hit in (await look(actor, words, **where)).hits]


async def test_words_phrases_and_exclusions(company: Company, make_room: MakeRoom) -> None:
    room = await make_room()
    run, cats, news = await say(
        company.alice,
        room.id,
        "She was running to the quick brown fox",
        "Two cats, brown and quick",
        "Grüße aus Köln, version 2.4.1 of foo_bar at https://example.com/path",
    )
    assert await found(company.alice, "run") == [run], "English endings don't matter"
    assert await found(company.alice, "CAT") == [cats], "nor do capitals"
    assert set(await found(company.alice, "quick brown")) == {run, cats}
    assert await found(company.alice, '"quick brown"') == [run]
    assert await found(company.alice, "quick -fox") == [cats]
    assert set(await found(company.alice, "fox or köln")) == {run, news}
    assert await found(company.alice, "2.4.1") == [news]
    assert await found(company.alice, "example.com/path") == [news]
    assert await found(company.alice, "the") == [run], "no word is too common to be looked for"
    assert await found(company.alice, "-fox") == [news, cats], "what is only excluded leaves the rest"
    assert await found(company.alice, 'brown -"brown and"') == [run], "a phrase is excluded where it is one"
    assert set(await found(company.alice, 'quick -"brown quick"')) == {run, cats}
    assert set(await found(company.alice, '"two cats" or köln')) == {cats, news}
    assert await found(company.alice, "elephant") == []
    assert await found(company.alice, "&|!()") == [], "signs alone ask for nothing"


async def test_what_says_it_more_often_comes_first(company: Company, make_room: MakeRoom) -> None:
    room = await make_room()
    often, once, again = await say(
        company.alice,
        room.id,
        "zebra zebra zebra",
        "a zebra among many other animals",
        "a zebra among many other animals",
    )
    assert await found(company.alice, "zebra") == [often, again, once], "and of equals the newer"


async def test_pages_hold_every_hit_once(company: Company, make_room: MakeRoom) -> None:
    room = await make_room()
    said = await say(company.alice, room.id, *(f"pear {'pear ' * (number % 3)}number {number}" for number in range(7)))
    pages, after = [], None
    for _ in range(7):
        page = (await look(company.alice, "pear", limit=2, after=after)).hits
        if not page:
            break
        pages += [hit.message for hit in page]
        after = page[-1].place
    assert len(pages) == len(said)
    assert set(pages) == set(said)
    assert pages == await found(company.alice, "pear")


async def test_filters(company: Company, make_room: MakeRoom) -> None:
    first, second = await make_room("shared"), await make_room()
    (alices,) = await say(company.alice, first.id, "plum")
    (bobs,) = await say(company.bob, first.id, "plum")
    (elsewhere,) = await say(company.alice, second.id, "plum")
    hits = (await look(company.alice, "plum")).hits
    at = {hit.message: hit.created_at for hit in hits}
    assert set(at) == {alices, bobs, elsewhere}
    assert set(await found(company.alice, "plum", room=first.id)) == {alices, bobs}
    assert await found(company.alice, "plum", author=company.bob.membership_id) == [bobs]
    assert await found(company.alice, "plum", since=at[elsewhere]) == [elsewhere]
    assert await found(company.alice, "plum", until=at[bobs]) == [alices]
    assert await found(company.alice, "plum", room=uuid.uuid4()) == []


async def test_only_rooms_that_one_is_in(company: Company, neighbour: Company, make_room: MakeRoom) -> None:
    private, shared = await make_room(), await make_room("shared")
    (secret,) = await say(company.alice, private.id, "cherry in private")
    (open_,) = await say(company.alice, shared.id, "cherry for all")
    theirs = await create_room(member=neighbour.alice.principal, kind="private")
    (other,) = await say(neighbour.alice, theirs.id, "cherry next door")
    assert set(await found(company.alice, "cherry")) == {secret, open_}
    assert await found(company.bob, "cherry") == [open_]
    assert await found(company.vera, "cherry") == []
    assert await found(neighbour.alice, "cherry") == [other]
    assert await found(neighbour.alice, "cherry", room=shared.id) == []


async def test_who_left_finds_nothing_any_more_and_who_returns_does(company: Company, make_room: MakeRoom) -> None:
    room = await make_room()
    shared = await create_room(member=company.alice.principal, kind="shared")
    joined = await add_member(
        member=company.alice.principal, room_id=shared.id, membership_id=company.bob.membership_id
    )
    (said,) = await say(company.alice, shared.id, "apricot")
    await say(company.alice, room.id, "apricot")
    assert await found(company.bob, "apricot") == [said]
    await remove_member(member=company.bob.principal, room_id=shared.id, room_member_id=joined.member.id)
    assert await found(company.bob, "apricot") == []
    await add_member(member=company.alice.principal, room_id=shared.id, membership_id=company.bob.membership_id)
    assert await found(company.bob, "apricot") == [said]
    await delete_room(member=company.alice.principal, room_id=shared.id)
    assert await found(company.bob, "apricot") == []


async def test_common_words_find_the_newest_and_rank_those(company: Company, make_room: MakeRoom) -> None:
    """200 messages are ranked, the newest that match; old and rare ones are found all the same."""
    rooms = [await make_room() for _ in range(2)]
    (oldest,) = await say(company.alice, rooms[0].id, "unicorn grape grape grape")
    await fill(company, [room.id for room in rooms], count=1_500, text="grape number")
    everything = await look(company.alice, "grape", limit=51)
    assert everything.capped
    assert oldest not in [hit.message for hit in everything.hits]
    rare = await look(company.alice, "unicorn grape")
    assert [hit.message for hit in rare.hits] == [oldest]
    assert not rare.capped
    assert await found(company.alice, "-number") == [oldest]


async def test_words_that_everybody_uses_beside_rare_ones(company: Company, make_room: MakeRoom) -> None:
    """The index isn't asked for the common ones; they must be in what is found all the same."""
    rooms = [await make_room() for _ in range(2)]
    with_both, alone, apart = await say(
        company.alice, rooms[0].id, "walrus grape number", "walrus", "walrus number of the grape"
    )
    await fill(company, [room.id for room in rooms], count=3_000, text="grape number")
    assert set(await found(company.alice, "walrus grape")) == {with_both, apart}
    assert await found(company.alice, '"grape number" walrus') == [with_both]
    assert await found(company.alice, "walrus -grape") == [alone]


async def test_who_is_in_very_many_rooms_finds_what_is_in_any_of_them(company: Company, make_room: MakeRoom) -> None:
    rooms = await fill_rooms(company, count=SAMPLE_ROOMS * 2)
    await fill(company, rooms, count=len(rooms) * 10, text="plum number")
    (said,) = await say(company.alice, rooms[7], "a plum and a lynx")
    assert await found(company.alice, "lynx") == [said]
    assert await found(company.alice, '"plum and"') == [said]
    everything = await look(company.alice, "plum", limit=51)
    assert (everything.capped, len(everything.hits)) == (True, 51)
    assert len({hit.room for hit in everything.hits}) > 20


async def fill_rooms(company: Company, *, count: int) -> list[uuid.UUID]:
    """So many rooms that the first member is in."""
    from chat.store import transaction

    rooms = [uuid7() for _ in range(count)]
    async with transaction(company.id) as connection:
        for room_id in rooms:
            await connection.execute(
                b"INSERT INTO chat_room (tenant_id, id, kind, title, created_by_id, settings) "
                b"VALUES (%s, %s, 'private', '', %s, '{}')",
                (company.id, room_id, company.alice.membership_id),
            )
            await connection.execute(
                b"INSERT INTO chat_roommember (tenant_id, id, room_id, membership_id, role) VALUES (%s, %s, %s, %s, 'owner')",
                (company.id, uuid7(), room_id, company.alice.membership_id),
            )
    return rooms


async def fill(company: Company, rooms: list[uuid.UUID], *, count: int, text: str) -> None:
    """So many messages, spread over the rooms, without events."""
    from chat.store import transaction

    async with transaction(company.id) as connection:
        await connection.execute(
            b"UPDATE chat_room SET head_seq = head_seq + %s, last_id = %s WHERE id = ANY (%s)",
            (count // len(rooms), uuid.UUID(int=0x10 << 120), rooms),
        )
        for room_id in rooms:
            await connection.execute(
                b"INSERT INTO chat_message (tenant_id, id, room_id, author_kind, author_membership_id, parts, text) "
                b"SELECT %s, ('0f' || substr(md5(%s || n), 3))::uuid, %s, 'member', %s, '[]', %s || ' ' || n "
                b"FROM generate_series(1, %s) n",
                (company.id, str(room_id), room_id, company.alice.membership_id, text, count // len(rooms)),
            )


async def test_snippets_mark_matches_and_are_text(company: Company, make_room: MakeRoom) -> None:
    room = await make_room()
    await say(company.alice, room.id, '\x02<b>never\x03 trust</b> a mango & its "friends"')
    (hit,) = (await look(company.alice, "mango")).hits
    assert [part.text for part in hit.snippet if part.match] == ["mango"]
    whole = "".join(part.text for part in hit.snippet)
    assert "<b>never trust</b> a mango &" in whole, "as it was written: whoever shows it escapes it"
    assert hit.room_title == "New room"
    assert hit.author.name


async def test_a_match_far_into_a_long_message_is_shown(company: Company, make_room: MakeRoom) -> None:
    room = await make_room()
    await say(company.alice, room.id, f"{'hay ' * 24_000}needle {'straw ' * 100}")
    (hit,) = (await look(company.alice, "needle")).hits
    assert [part.text for part in hit.snippet if part.match] == ["needle"]


@pytest.mark.parametrize("unit", ["{:c}-", "{:c}{:c} ", "{:x} ", "a{:c}.{:x}/"])
async def test_the_longest_texts_can_be_written(company: Company, make_room: MakeRoom, unit: str) -> None:
    """A list of words has at most a mebibyte, and a text that makes more of them would be refused by PostgreSQL."""
    text = "".join(unit.format(0x20000 + number % 40_000, 0x20000 + number // 7) for number in range(100_000))[:100_000]
    room = await make_room()
    (said,) = await say(company.alice, room.id, text)
    assert said


async def test_what_isnt_asked_well_is_refused(company: Company) -> None:
    for words in ("", "   ", "x" * (SEARCH_CHARS_MAX + 1), "nul\x00"):
        with pytest.raises(InvalidRequest):
            await look(company.alice, words)
    for rank in ("1e39", "1e-60"):
        # Nobody was given such a cursor; it is in no list, or behind all of it.
        assert (await look(company.alice, "x", after=f"{rank}:{uuid.uuid4()}")).hits == []
    for cursor in ("x", "1.0:zz", "1.0", "nan:" + str(uuid.uuid4())):
        with pytest.raises(InvalidRequest):
            await look(company.alice, "x", after=cursor)


def test_over_rest(company: Company) -> None:
    member = company.alice.principal
    room = on_loop(create_room(member=member, kind="private", title="Fruit"))
    said = [
        on_loop(send_message(member=member, room_id=room.id, text=f"lemon {number}", generate=False)).message.id
        for number in range(3)
    ]
    client = company.alice.client
    first = client.get("/api/v1/messages/search", {"q": "lemon", "limit": 2}).json()
    second = client.get("/api/v1/messages/search", {"q": "lemon", "limit": 2, "cursor": first["next_cursor"]}).json()
    assert [hit["message"] for hit in first["data"] + second["data"]] == [str(id_) for id_ in reversed(said)]
    assert second["next_cursor"] is None
    assert first["data"][0]["snippet"] == [{"text": "lemon", "match": True}, {"text": " 2", "match": False}]
    assert first["data"][0]["room_title"] == "Fruit"
    for bad in ({}, {"q": ""}, {"q": "x", "room": "no"}, {"q": "x", "unknown": "1"}, {"q": "x", "cursor": "e"}):
        assert client.get("/api/v1/messages/search", bad).status_code == 400, bad
    assert client.get("/api/v1/messages/search", {"q": "lemon", "room": str(uuid.uuid4())}).json()["data"] == []


def test_the_function_serves_whom_the_transaction_acts_for(company: Company, neighbour: Company) -> None:
    member = company.alice.principal
    room = on_loop(create_room(member=member, kind="private"))
    on_loop(send_message(member=member, room_id=room.id, text="quince", generate=False))
    ask = "SELECT message_id FROM lookup.search_messages('quince', %s, NULL, NULL, NULL, NULL, NULL, 10)"
    with connect(APP_ROLE) as web:
        for tenant, person, hits in (
            (company.id, company.alice.person_id, 1),
            (company.id, company.bob.person_id, 0),
            (company.id, None, 0),
            (neighbour.id, company.alice.person_id, 0),
            (neighbour.id, neighbour.alice.person_id, 0),
        ):
            with undone(web):
                enter(web, tenant, person)
                assert len(web.execute(ask, (room.id,)).fetchall()) == hits
        with undone(web), pytest.raises((errors.UndefinedObject, errors.InvalidTextRepresentation)):
            web.execute(ask, (room.id,))


def test_the_index_of_words_is_used(company: Company) -> None:
    """By the function's owner, whose policy hides nothing; the web role's would have to be asked before `@@` is."""
    plans = {}
    for role in ("parley_lookup", APP_ROLE):
        with connections["owner"].cursor() as cursor:
            cursor.execute("BEGIN; SET LOCAL enable_seqscan = off")
            cursor.execute("SELECT set_config('app.tenant_id', %s, true)", [str(company.id)])
            cursor.execute(f"SET LOCAL ROLE {role}")
            cursor.execute(
                "EXPLAIN (FORMAT JSON) SELECT id FROM chat_message WHERE search_keys(tenant_id, search) @@ 'rare'::tsquery"
            )
            plans[role] = json.dumps(cursor.fetchone()[0])
            cursor.execute("ROLLBACK")
    assert '"Index Name": "message_search", ' in plans["parley_lookup"]
    assert 'Index Cond": "(search_keys(tenant_id, search) @@' in plans["parley_lookup"].replace("\\", "")
    assert "message_search" not in plans[APP_ROLE]
