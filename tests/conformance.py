"""Whether a server keeps docs/websocket.md, line by line, told from outside.

    python -m tests.conformance https://parley.example --token T --other T2 --stranger T3 --model M

`--token` and `--other` are access tokens of two members of one tenant, `--stranger` one of another tenant's. The model is asked
to say astral and combining text; where it is the suite's fake upstream, `--script` makes sure that it does. Prints a line per
check and answers with 1 if any fails.
"""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.sse_client import listening

Frame = dict[str, Any]
WAIT_S = 15.0
TEXT = "naïve 🎈 e\u0301 👩‍👩‍👧 𝒳\U0001f1e9\U0001f1ea 漢字 \u2028" * 12
NOTHING = "0190a000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Target:
    """The server, who speaks to it, and what its model is asked."""

    url: str
    token: str
    other: str
    other_membership: str
    stranger: str
    model: str
    script: bool = False
    frames_per_s: int = 200

    def prompt(self, *, delay_ms: int = 5) -> str:
        """What has the model say `TEXT`."""
        if self.script:
            return "!script " + json.dumps({"text": TEXT, "chunk": 7, "delay_ms": delay_ms})
        return f"Repeat this, and say nothing else: {TEXT}"


class Socket:
    """A socket, spoken to in frames."""

    def __init__(self, raw: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = raw
        self.frames: list[Frame] = []

    async def say(self, frame: Frame | str | bytes) -> None:
        if isinstance(frame, bytes):
            await self.raw.send_bytes(frame)
        else:
            await self.raw.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self, wanted: Callable[[Frame], object]) -> Frame:
        """The next frame that is wanted."""
        async with asyncio.timeout(WAIT_S):
            async for message in self.raw:
                assert message.type is aiohttp.WSMsgType.TEXT, message
                frame: Frame = json.loads(message.data)
                self.frames.append(frame)
                if wanted(frame):
                    return frame
        raise AssertionError(f"closed with {self.raw.close_code} instead")

    async def hear_or_had(self, wanted: Callable[[Frame], object]) -> Frame:
        """The first frame that is wanted, of those that have come too."""
        had = next((frame for frame in self.frames if wanted(frame)), None)
        return had or await self.hear(wanted)

    async def closed(self) -> int | None:
        """The code it is closed with."""
        async with asyncio.timeout(WAIT_S):
            async for _ in self.raw:
                continue
        return self.raw.close_code

    async def command(self, type_: str, room: str | None = None, *, cid: str | None = None, **body: Any) -> Frame:
        cid = cid or uuid.uuid4().hex
        frame = {"op": "cmd", "cid": cid, "type": type_, "body": body} | ({"room": room} if room else {})
        await self.say(frame)
        return await self.hear(lambda said: said["op"] in ("ack", "err") and said["cid"] == cid)


class Server:
    """What the checks do to a server."""

    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self.target, self.session = target, session

    @asynccontextmanager
    async def open(
        self, *, protocols: tuple[str, ...] = ("parley.v1",), origin: str | None = None
    ) -> AsyncIterator[Socket]:
        """A socket on which nothing was said."""
        url = self.target.url.replace("http", "ws", 1) + "/ws"
        async with self.session.ws_connect(url, protocols=protocols, origin=origin, max_msg_size=0) as raw:
            yield Socket(raw)

    @asynccontextmanager
    async def hello(self, token: str | None = None, **more: Any) -> AsyncIterator[Socket]:
        """A socket that was welcomed."""
        async with self.open() as socket:
            await socket.say({"op": "hello", "v": 1, "token": token or self.target.token} | more)
            await socket.hear(lambda frame: frame["op"] == "welcome")
            yield socket

    async def rest(self, method: str, path: str, token: str | None = None, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {token or self.target.token}"}
        url = f"{self.target.url}/api/v1/{path}"
        async with self.session.request(method, url, json=body or None, headers=headers) as response:
            assert response.status < 300, (response.status, await response.text())
            return await response.json()

    async def room(self, *, shared: bool = False) -> str:
        kind = "shared" if shared else "private"
        room: str = (await self.rest("POST", "rooms", title="Conformance", kind=kind, model=self.target.model))["id"]
        if shared:
            await self.rest("POST", f"rooms/{room}/members", member=self.target.other_membership)
        return room


Check = Callable[[Server], Awaitable[None]]
CHECKS: list[Check] = []


def check(made: Check) -> Check:
    """A line of the protocol."""
    CHECKS.append(made)
    return made


@check
async def what_is_no_frame_is_closed_with_4400(server: Server) -> None:
    for frame in ("no json", "[]", '{"op":"nonsense"}', b"\x00", '{"op":"cmd","cid":"1","type":"typing"}', "[" * 5000):
        async with server.open() as socket:
            await socket.say(frame)
            assert await socket.closed() == 4400, frame


@check
async def an_opening_that_is_not_right_is_closed_with_its_code(server: Server) -> None:
    for hello, code in (({"v": 1}, 4401), ({"v": 1, "token": "x"}, 4401), ({"v": 7, "token": "x"}, 4400)):
        async with server.open() as socket:
            await socket.say({"op": "hello", **hello})
            assert await socket.closed() == code, hello
    async with server.open(origin="https://evil.example") as socket:
        assert await socket.closed() == 4403
    async with server.open(protocols=()) as socket:
        assert await socket.closed() == 4400
    async with server.hello() as socket:
        await socket.say({"op": "hello", "v": 1, "token": server.target.token})
        assert await socket.closed() == 4400


@check
async def a_ticket_opens_once(server: Server) -> None:
    ticket = (await server.rest("POST", "auth/ws-ticket"))["ticket"]
    for code in (None, 4401):
        async with server.open() as socket:
            await socket.say({"op": "hello", "v": 1, "ticket": ticket})
            if code is None:
                assert (await socket.hear(lambda frame: True))["op"] == "welcome"
            else:
                assert await socket.closed() == code


@check
async def welcome_tells_heartbeat_and_limits_and_they_hold(server: Server) -> None:
    async with server.open() as socket:
        await socket.say({"op": "hello", "v": 1, "token": server.target.token})
        welcome = await socket.hear(lambda frame: frame["op"] == "welcome")
        assert welcome["hb"] == 30
        assert welcome["sid"]
        assert {"frame_bytes", "inflight", "rooms"} <= welcome["limits"].keys()
        await socket.say({"op": "ping", "t": 17})
        assert (await socket.hear(lambda frame: frame["op"] == "pong"))["t"] == 17
        await socket.say('"' + "x" * welcome["limits"]["frame_bytes"] + '"')
        assert await socket.closed() == 4413


@check
async def an_error_in_a_command_leaves_the_socket_open(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket, server.hello(server.target.stranger) as stranger:
        for type_, named, body, code in (
            ("nonsense", None, {}, "not_supported"),
            ("room.join", NOTHING, {}, "not_found"),
            ("room.join", None, {}, "invalid_request"),
            ("message.send", room, {"text": 7}, "invalid_request"),
            ("generation.stop", None, {"gid": NOTHING}, "not_found"),
        ):
            answer = await socket.command(type_, named, **body)
            assert (answer["op"], answer["code"]) == ("err", code), (type_, answer)
        theirs = await stranger.command("room.join", room, cid="a")
        assert theirs == await stranger.command("room.join", NOTHING, cid="a")
        assert (await socket.command("room.join", room))["op"] == "ack"


@check
async def a_command_is_carried_out_once_on_whatever_socket(server: Server) -> None:
    room, cid, acks = await server.room(), uuid.uuid4().hex, []
    for _ in range(2):
        async with server.hello() as socket:
            acks.append(await socket.command("message.send", room, cid=cid, text="Once.", generate=False))
    assert acks[0] == acks[1]
    said = await server.rest("GET", f"rooms/{room}/messages")
    assert len(said["data"]) == 1


@check
async def events_are_numbered_without_gaps_and_replayed_after_a_position(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        joined = await socket.command("room.join", room)
        for number in range(5):
            ack = await socket.command("message.send", room, text=str(number), generate=False)
        await socket.hear_or_had(lambda frame: frame["op"] == "ev" and frame["seq"] == ack["seq"])
        live = [frame for frame in socket.frames if frame["op"] == "ev"]
    assert [event["seq"] for event in live] == list(range(joined["seq"] + 1, joined["seq"] + 6))
    position = {"room": room, "epoch": live[1]["epoch"], "seq": live[1]["seq"]}
    async with server.hello(resume=[position]) as socket:
        await socket.hear(lambda frame: frame["op"] == "ev" and frame["seq"] == live[-1]["seq"])
        assert [frame for frame in socket.frames if frame["op"] == "ev"] == live[2:]


@check
async def what_cannot_be_resumed_is_reset(server: Server) -> None:
    room = await server.room()
    resume = [{"room": room, "epoch": "1", "seq": 10_000}, {"room": NOTHING, "epoch": "1", "seq": 1}]
    async with server.hello(resume=resume) as socket:
        for named in (room, NOTHING):
            told = await socket.hear(lambda frame, named=named: frame["op"] == "reset" and frame["room"] == named)
            assert told["snapshot"] == f"/api/v1/rooms/{named}/snapshot"
            assert told["reason"]


@check
async def a_stream_is_told_in_code_points_and_resumed_at_any_of_them(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        joined = await socket.command("room.join", room)
        await socket.command("message.send", room, text=server.target.prompt(delay_ms=15))
        started = await socket.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid, held = started["body"]["generation"]["id"], ""
        while len(held) < 20:
            delta = await socket.hear(lambda frame: frame["op"] == "delta" and frame["gid"] == gid)
            assert delta["off"] == len(held)
            held += delta["text"]
    keep = 9
    position = {"room": room, "epoch": started["epoch"], "seq": started["seq"], "gens": {gid: {"0": keep}}}
    assert joined["seq"] < started["seq"]
    async with server.hello(resume=[position]) as socket:
        finished = await socket.hear(lambda frame: frame.get("type") == "generation.finished")
        said = held[:keep]
        for delta in socket.frames:
            if delta["op"] == "delta":
                assert delta["off"] == len(said), "a hole, or a repetition"
                said += delta["text"]
    assert said == finished["body"]["message"]["text"]
    if server.target.script:
        assert said == TEXT


@check
async def a_client_that_holds_more_than_there_is_is_reset(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        await socket.command("room.join", room)
        await socket.command("message.send", room, text=server.target.prompt(delay_ms=20))
        started = await socket.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid = started["body"]["generation"]["id"]
        await socket.hear(lambda frame: frame["op"] == "delta")
        position = {"room": room, "epoch": started["epoch"], "seq": started["seq"], "gens": {gid: {"0": 100_000}}}
        async with server.hello(resume=[position]) as second:
            assert (await second.hear(lambda frame: frame["op"] in ("reset", "delta")))["op"] == "reset"
        await socket.command("generation.stop", gid=gid)


@check
async def any_device_stops_and_what_came_stays(server: Server) -> None:
    room = await server.room()
    async with server.hello() as first, server.hello() as second:
        await first.command("room.join", room)
        await first.command("message.send", room, text=server.target.prompt(delay_ms=50))
        started = await first.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid = started["body"]["generation"]["id"]
        await first.hear(lambda frame: frame["op"] == "delta")
        cid = uuid.uuid4().hex
        assert await second.command("generation.stop", gid=gid, cid=cid) == await second.command(
            "generation.stop", gid=gid, cid=cid
        )
        finished = await first.hear(lambda frame: frame.get("type") == "generation.finished")
        assert finished["body"]["generation"]["status"] == "stopped"
        said = "".join(frame["text"] for frame in first.frames if frame["op"] == "delta")
        assert finished["body"]["message"]["text"].startswith(said)


@check
async def typing_presence_and_invitations_reach_the_other(server: Server) -> None:
    async with server.hello(server.target.other, notes=2**52) as other, server.hello() as socket:
        room = await server.room(shared=True)
        await other.command("room.join", room)
        await socket.command("room.join", room)
        await socket.command("typing", room)
        told = await other.hear(lambda frame: frame["op"] == "typing")
        assert told["room"] == room
        await other.command("presence.set", state="away")
        who = {"who": server.target.other_membership, "state": "away"}
        await socket.hear(lambda frame: frame["op"] == "presence" and who.items() <= frame.items())
    async with server.hello(server.target.other) as other:
        note = await other.hear(lambda frame: frame["op"] == "note" and frame["body"].get("room") == room)
        assert note["type"] == "invited"
    async with server.hello(server.target.other, notes=note["seq"]) as other:
        await other.say({"op": "ping"})
        await other.hear(lambda frame: frame["op"] == "pong")
        assert not [frame for frame in other.frames if frame["op"] == "note" and frame["type"] == "invited"]


@check
async def what_was_seen_counts(server: Server) -> None:
    room = await server.room(shared=True)
    async with server.hello() as socket, server.hello(server.target.other) as other:
        ack = await socket.command("message.send", room, text="Read me.", generate=False)
        assert (await server.rest("GET", f"rooms/{room}", server.target.other))["unread"] == 1
        await other.say({"op": "seen", "room": room, "seq": ack["seq"]})
        await other.command("room.join", room)
        assert (await server.rest("GET", f"rooms/{room}", server.target.other))["unread"] == 0


@check
async def a_fresh_token_renews_and_anothers_does_not(server: Server) -> None:
    async with server.hello() as socket:
        await socket.say({"op": "auth", "token": server.target.token})
        await socket.say({"op": "ping"})
        await socket.hear(lambda frame: frame["op"] == "pong")
        await socket.say({"op": "auth", "token": server.target.other})
        assert await socket.closed() == 4403


@check
async def events_carry_the_same_bodies(server: Server) -> None:
    room = await server.room()
    url = f"{server.target.url}/api/v1/rooms/{room}/events"
    async with listening(url, server.target.token) as events, server.hello() as socket:
        await events.until(lambda: events.frames)
        await socket.command("room.join", room)
        await socket.command("message.send", room, text="Both ways.", generate=False)
        await socket.hear_or_had(lambda frame: frame["op"] == "ev")
        live = [frame for frame in socket.frames if frame["op"] == "ev"]
        await events.until(lambda: [frame for frame in events.frames if frame["op"] == "ev"])
        assert [frame for frame in events.frames if frame["op"] == "ev"] == live
        assert events.last_id == f"{live[0]['epoch']}:{live[0]['seq']}"


@check
async def too_many_frames_are_closed_with_4429(server: Server) -> None:
    async with server.hello() as socket:
        for number in range(server.target.frames_per_s * 3):
            await socket.say({"op": "ping", "t": number})
        assert await socket.closed() == 4429


async def run(target: Target) -> dict[str, str]:
    """Run all checks; the failures by their names."""
    failures: dict[str, str] = {}
    async with aiohttp.ClientSession() as session:
        server = Server(target, session)
        for one in CHECKS:
            try:
                await one(server)
            except (AssertionError, TimeoutError, KeyError, aiohttp.ClientError) as error:
                failures[one.__name__] = repr(error)[:500]
    return failures


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    for name in ("token", "other", "other-membership", "stranger", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--script", action="store_true")
    failures = asyncio.run(run(Target(**vars(parser.parse_args()))))
    for one in CHECKS:
        failure = failures.get(one.__name__)
        sys.stdout.write(f"{'FAILED' if failure else 'holds '}  {one.__name__.replace('_', ' ')}\n")
        if failure:
            sys.stdout.write(f"        {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
