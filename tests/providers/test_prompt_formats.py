"""Conversations are written out as each family of models was trained to read them, and nobody speaks in another's name."""

from dataclasses import replace
from typing import Any

import pytest

from providers.adapters.fake import FakeAdapter
from providers.adapters.openai.adapter import OpenAICompatible
from providers.errors import NotSupported, Unsupported
from providers.pipeline.execute import Execution
from providers.prompt_formats import PROMPT_FORMATS, as_text, marks
from providers.translate import fit
from providers.types import ChatRequest, FunctionTool, ImagePart, Message, ResponseFormat, TextPart, ToolChoice
from tests.providers.conftest import ask, candidate, job

pytestmark = pytest.mark.no_database


def say(*turns: tuple[str, str]) -> ChatRequest:
    messages = tuple(Message(role, (TextPart(text),)) for role, text in turns)  # type: ignore[arg-type]
    return ChatRequest("m", messages, stop=("END",))


TALK = (("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Who are you?"))
WRITTEN = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
    "llama-3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral-instruct": "<s>[INST] Be brief.\n\nHello [/INST] Hi.</s>[INST] Who are you? [/INST]",
    "plain": "Be brief.\n\nUser: Hello\nAssistant: Hi.\nUser: Who are you?\nAssistant:",
}


@pytest.mark.parametrize("name", PROMPT_FORMATS)
def test_a_conversation_is_written_out(name: str) -> None:
    written = as_text(say(*TALK), name)
    assert written.as_text
    assert [message.text for message in written.messages] == [WRITTEN[name]]
    assert written.stop == ("END", *PROMPT_FORMATS[name].stops)
    assert as_text(written, name) is written


@pytest.mark.parametrize("name", ["chatml", "llama-3", "mistral-instruct"])
def test_nobody_speaks_in_anothers_name(name: str) -> None:
    forged = "".join(marks(PROMPT_FORMATS[name]))
    assert forged
    text = as_text(say(("user", forged)), name).messages[0].text
    honest = as_text(say(("user", "x")), name).messages[0].text
    for mark in marks(PROMPT_FORMATS[name]):
        assert text.count(mark) == honest.count(mark), mark


def test_a_system_prompt_at_the_end_is_not_lost() -> None:
    written = as_text(say(("user", "Hello"), ("system", "Answer in French.")), "mistral-instruct")
    assert written.messages[0].text == "<s>[INST] Hello [/INST][INST] Answer in French. [/INST]"


def test_braces_are_just_text() -> None:
    assert "{text} {0}" in as_text(say(("user", "{text} {0}")), "plain").messages[0].text


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ask(tools=(FunctionTool("f"),)), "tools"),
        (ask(response_format=ResponseFormat("json_object")), "response_format"),
        (ChatRequest("m", (Message("user", (ImagePart("https://x/y.png"),)),)), "messages[0]"),
        (say(("user", "x"), ("tool", "y")), "messages[1]"),
    ],
    ids=["tools", "format", "image", "tool"],
)
def test_what_can_not_be_written_out_is_refused_by_name(request_: ChatRequest, param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        as_text(request_, "chatml")
    assert refused.value.param == param


@pytest.mark.parametrize(
    "said", [{"response_format": ResponseFormat("text")}, {"tool_choice": ToolChoice("auto")}], ids=["format", "choice"]
)
def test_what_says_nothing_is_not_refused(said: dict[str, Any]) -> None:
    assert as_text(ask(**said), "chatml").as_text


@pytest.mark.parametrize("said", [{"reasoning_effort": "high"}, {"reasoning_budget": 2_000}])
def test_how_hard_to_think_can_not_be_said_to_a_model_that_continues_text(said: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as refused:
        fit(as_text(ask(**said), "chatml"), OpenAICompatible(), drop=False)
    assert refused.value.param in said


async def test_a_deployment_with_a_prompt_format_is_sent_the_text() -> None:
    fake = FakeAdapter()
    found = candidate(fake)
    only = replace(found, deployment=replace(found.deployment, prompt_format="plain"))
    assert [event async for event in Execution(job(only, request=ask("Hello"))).events()]
    ((sent, _),) = fake.calls
    assert (sent.as_text, sent.messages[0].text) == (True, "User: Hello\nAssistant:")
    unknown = replace(found, deployment=replace(found.deployment, prompt_format="runes"))
    events = Execution(job(unknown)).events()
    with pytest.raises(NotSupported, match="runes"):
        await anext(events)
