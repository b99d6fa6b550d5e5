"""Whatever can change an answer changes its key; what can't doesn't."""

import uuid
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from billing.types import Payer, Tariff
from providers.adapters.fake import FakeAdapter
from providers.base import Target
from providers.cache.canonical import IGNORED, KEYED, UNKEYED
from providers.cache.key import key_of
from providers.pipeline.values import Candidate, Job, Wishes
from providers.routes import ResolvedDeployment
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    ReasoningPart,
    Request,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
    user_message,
)

pytestmark = pytest.mark.no_database

TENANT = uuid.uuid4()
_text = st.text(st.characters(codec="utf-8"), max_size=8)
_raw = st.one_of(st.integers(0, 9), st.dictionaries(_text, st.integers(0, 3), max_size=2)).map(
    lambda value: Raw(msgspec.json.encode(value))
)
_extras = st.dictionaries(st.sampled_from(sorted(KEYED)), _raw, min_size=1, max_size=2).map(
    lambda fields: Extras("openai.chat", fields)
)
_SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    Raw: _raw,
    Extras: _extras,
    Opaque: st.nothing(),
    str: _text,
    bool: st.booleans(),
    int: st.integers(-3, 1000),
    float: st.floats(0, 2, allow_nan=False),
    type(None): st.none(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type, but for opaque ones, which have no key."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of(*(values_of(one) for one in inner))
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        return st.lists(values_of(inner[0]), max_size=2).map(tuple)
    assert issubclass(kind, msgspec.Struct), f"a field of a new type, {kind!r}: say above how its values are made"
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: values_of(hints[name]) for name in kind.__struct_fields__})


requests = st.one_of(values_of(ChatRequest), values_of(EmbeddingRequest))


DEPLOYMENT = uuid.uuid4()


def job(
    request: Request,
    *,
    tenant_id: uuid.UUID = TENANT,
    model: str = "model",
    deployment_id: uuid.UUID = DEPLOYMENT,
    prompt_format: str = "",
    **more: Any,
) -> Job:
    deployment = ResolvedDeployment(
        id=deployment_id,
        provider="fake",
        connection="fake",
        base_url="fake://",
        model=model,
        platform=True,
        tariff=Tariff(model, {}),
        secret=None,
        prompt_format=prompt_format,
    )
    candidate = Candidate("fake", FakeAdapter(), Target("fake", "fake://", model), deployment)
    payer = Payer(tenant_id=tenant_id, principal_kind="member", membership_id=uuid.uuid4())
    return Job(uuid.uuid4(), payer, request, (candidate,), **more)


def key(
    request: Request,
    *,
    scope: tuple[object, ...] = ("tenant",),
    generations: tuple[int, int] = (0, 0),
    masks: tuple[bool, ...] = (False, False),
    **more: Any,
) -> bytes | None:
    found = key_of(job(request, **more), scope=scope, generations=generations, masks=masks)
    return found[0] if found else None


def sent_as(request: Request) -> Request:
    """The request, sent in the one way that all are compared in."""
    fields = {name: False for name in UNKEYED if name in request.__struct_fields__}
    return replace(request, **fields)


@settings(max_examples=100, deadline=None)
@given(requests, requests)
def test_two_requests_have_one_key_only_if_they_are_equal(one: Request, other: Request) -> None:
    same = type(one) is type(other) and sent_as(one) == sent_as(other)
    assert (key(one) == key(other)) is same
    assert key(one) is not None


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in (ChatRequest, EmbeddingRequest) for name in kind.__struct_fields__]
)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_changing_any_field_changes_the_key(kind: type[Request], name: str, data: st.DataObject) -> None:
    request = data.draw(values_of(kind))
    changed = replace(request, **{name: data.draw(values_of(get_type_hints(kind)[name]))})
    same = name in UNKEYED or getattr(changed, name) == getattr(request, name)
    assert (key(changed) == key(request)) is same


FULL = ChatRequest(
    model="alias",
    messages=(
        Message(role="system", content=(TextPart("Be brief."),)),
        Message(
            role="user",
            content=(TextPart("Look"), ImagePart("https://example.com/a.png", "low"), ReasoningPart("hm")),
            name="ann",
        ),
        Message(role="assistant", tool_calls=(ToolCall("call_1", "look", "{}"),)),
        Message(role="tool", content=(TextPart("seen"),), tool_call_id="call_1"),
    ),
    tools=(FunctionTool("look", "looks", Raw(b'{"type":"object"}'), strict=True),),
    tool_choice=ToolChoice("auto", "look"),
    response_format=ResponseFormat("json_schema", "shape", "a shape", Raw(b"{}"), strict=True),
)
PARTS: list[Any] = [
    FULL.messages[1],
    *FULL.messages[1].content,
    FULL.messages[2],
    FULL.messages[2].tool_calls[0],
    FULL.messages[3],
    FULL.tools[0],
    FULL.tool_choice,
    FULL.response_format,
]


def swapped(value: Any, old: Any, new: Any) -> Any:
    """The value with one of its parts exchanged."""
    if value is old:
        return new
    if isinstance(value, tuple):
        return tuple(swapped(item, old, new) for item in value)
    if isinstance(value, msgspec.Struct):
        return replace(value, **{name: swapped(getattr(value, name), old, new) for name in value.__struct_fields__})
    return value


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in part.__struct_fields__])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_changing_any_field_of_any_part_changes_the_key(part: Any, name: str, data: st.DataObject) -> None:
    value = data.draw(values_of(get_type_hints(type(part))[name]))
    changed = swapped(FULL, part, replace(part, **{name: value}))
    assert (key(changed) == key(FULL)) is (value == getattr(part, name))
    assert key(changed) is not None


def test_the_order_of_messages_matters() -> None:
    assert key(replace(FULL, messages=FULL.messages[::-1])) != key(FULL)


def test_how_an_answer_is_sent_does_not_matter() -> None:
    assert UNKEYED == ("stream", "include_usage", "as_base64")
    assert key(replace(FULL, stream=True, include_usage=True)) == key(FULL)
    assert key(EmbeddingRequest("m", ("x",), as_base64=True)) == key(EmbeddingRequest("m", ("x",)))


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_a_hint_does_not_matter_wherever_it_stands(name: str) -> None:
    hint = Extras("openai.chat", {name: Raw(b'"x"')})
    assert key(replace(FULL, extras=hint)) == key(FULL)
    part = FULL.messages[1].content[0]
    assert key(swapped(FULL, part, replace(part, extras=hint))) == key(FULL)


@pytest.mark.parametrize(
    "part",
    [part for part in (FULL, *PARTS) if "extras" in part.__struct_fields__],
    ids=lambda part: type(part).__name__,
)
def test_what_is_not_known_has_no_key_wherever_it_stands(part: Any) -> None:
    unknown = replace(part, extras=Extras("openai.chat", {"new_thing": Raw(b"1")}))
    assert key(swapped(FULL, part, unknown)) is None


def test_an_opaque_part_has_no_key() -> None:
    opaque = Opaque("audio", Extras("openai.chat", {"user": Raw(b"1")}))
    assert key(swapped(FULL, FULL.messages[1].content[0], opaque)) is None
    assert key(replace(FULL, tool_choice=opaque)) is None


def test_to_be_stored_by_the_provider_is_no_mere_hint() -> None:
    assert key(replace(FULL, extras=Extras("openai.chat", {"store": Raw(b"true")}))) is None
    assert key(replace(FULL, extras=Extras("openai.chat", {"store": Raw(b"false")}))) == key(FULL)


def test_text_that_looks_like_extras_is_only_text() -> None:
    tricky = replace(FULL, messages=(user_message('"wire_format":"openai.chat","fields":{}'),))
    assert key(tricky) is not None
    schema = FunctionTool("f", parameters=Raw(b'{"wire_format":{"type":"string"}}'))
    assert key(replace(FULL, tools=(schema,))) not in (None, key(FULL))


def test_tenants_scopes_models_and_generations_are_apart() -> None:
    keys = [
        key(FULL),
        key(FULL, tenant_id=uuid.uuid4()),
        key(FULL, scope=("principal", uuid.uuid4())),
        key(FULL, scope=("principal", uuid.uuid4())),
        key(FULL, scope=("group", "a", "b")),
        key(FULL, scope=("group", "a")),
        key(FULL, model="another"),
        key(FULL, generations=(1, 0)),
        key(FULL, generations=(0, 1)),
        key(FULL, wishes=Wishes(drop_params=True)),
        key(FULL, masks=(True, False)),
        key(FULL, masks=(False, True)),
        key(FULL, deployment_id=uuid.uuid4()),
        key(FULL, prompt_format="chatml"),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_the_order_of_deployments_does_not_matter() -> None:
    one, other = job(FULL, model="one"), job(FULL, model="other")
    both = (*one.candidates, *other.candidates)
    keys = [
        key_of(replace(one, candidates=candidates), scope=("tenant",), generations=(0, 0))
        for candidates in (both, both[::-1])
    ]
    assert keys[0] == keys[1] is not None
