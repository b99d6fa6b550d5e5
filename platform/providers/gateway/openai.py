"""`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, and the form that errors have in all of OpenAI's APIs."""

import uuid
from collections.abc import Mapping

from kernel.errors import InvalidRequest, ParleyError
from providers.adapters.openai import TEXT_FORMAT, WIRE_FORMAT
from providers.adapters.openai.answer_out import StreamWriter, encode_answer
from providers.adapters.openai.embeddings import encode_embedding_answer, parse_embedding_request
from providers.adapters.openai.errors import encode_error
from providers.adapters.openai.request_in import parse_chat_request
from providers.adapters.openai.text_in import parse_text_request
from providers.adapters.openai.text_out import TextStreamWriter, encode_text_answer
from providers.adapters.openai_responses.in_chat import parse_in_chat
from providers.gateway.surface import FrameWriter, Surface
from providers.types import ChatAnswer, ChatRequest, EmbeddingRequest

_NOT_MENDED_BY_RETRYING = frozenset({402})


class OpenAIErrors:
    """Errors as OpenAI's clients read them."""

    def error(self, error: ParleyError, *, request_id: uuid.UUID) -> tuple[int, bytes, Mapping[str, str]]:
        headers = dict(error.headers)
        if error.status in _NOT_MENDED_BY_RETRYING:
            # The official clients obey this before their own rules.
            headers["x-should-retry"] = "false"
        return error.status, encode_error(error), headers


class ChatCompletions(OpenAIErrors, Surface[ChatRequest]):
    """OpenAI's chat completions."""

    name = WIRE_FORMAT

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:
        try:
            return parse_chat_request(body)
        except InvalidRequest as error:
            # Some editors send here what belongs to responses.
            if error.details == {"param": "messages"} and (asked := parse_in_chat(body)) is not None:
                return asked
            raise

    def answer(self, answer: ChatAnswer, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> bytes:
        return encode_answer(answer, answer_id=_answer_id(request_id), created=created, model=asked.model)

    def writer(self, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> FrameWriter:
        return StreamWriter(
            answer_id=_answer_id(request_id), created=created, model=asked.model, include_usage=asked.include_usage
        )


class TextCompletions(OpenAIErrors, Surface[ChatRequest]):
    """OpenAI's legacy completions: text to be continued."""

    name = TEXT_FORMAT

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:
        return parse_text_request(body)

    def answer(self, answer: ChatAnswer, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> bytes:
        return encode_text_answer(answer, answer_id=_text_id(request_id), created=created, model=asked.model)

    def writer(self, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> FrameWriter:
        return TextStreamWriter(
            answer_id=_text_id(request_id), created=created, model=asked.model, include_usage=asked.include_usage
        )


class Embeddings(OpenAIErrors, Surface[EmbeddingRequest]):
    """OpenAI's embeddings. They are never streamed."""

    name = "openai.embeddings"

    def parse(self, body: bytes, headers: Mapping[str, str]) -> EmbeddingRequest:
        return parse_embedding_request(body)

    def answer(self, answer: ChatAnswer, asked: EmbeddingRequest, *, request_id: uuid.UUID, created: int) -> bytes:
        return encode_embedding_answer(answer, model=asked.model, as_base64=asked.as_base64)

    def writer(self, asked: EmbeddingRequest, *, request_id: uuid.UUID, created: int) -> FrameWriter:
        raise AssertionError("an EmbeddingRequest is never streamed")


def _answer_id(request_id: uuid.UUID) -> str:
    return f"chatcmpl-{request_id.hex}"


def _text_id(request_id: uuid.UUID) -> str:
    return f"cmpl-{request_id.hex}"
