"""Requests into the bodies that Gemini gets."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Raw

from providers.adapters.gemini import WIRE_FORMAT
from providers.adapters.gemini.thinking import thinking_config
from providers.adapters.reading import CANT_READ, arguments_object, inline_image, own_fields, texts
from providers.errors import Unsupported
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
)

JSON = dict[str, object]
NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google asks for in place of the signature of a call that another model made, or that got lost on its way."""
_CONFIG = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
"""Fields of the value, and what they are called here."""
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
_NOTHING = TextPart("")
_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw])


def encode_chat_request(request: ChatRequest, *, model: str) -> bytes:
    """The body of `POST …:generateContent` and `…:streamGenerateContent`. Raises Unsupported with the name of what this
    format can't say."""
    body: JSON = {"contents": list(_contents(request.messages))}
    system = [part for place, message in enumerate(request.messages) for part in _system(message, place)]
    if system and body["contents"]:
        body["systemInstruction"] = {"parts": system}
    elif system:
        # There is nothing to answer but the instruction.
        body["contents"] = [{"role": "user", "parts": system}]
    tools = [_tool(tool) for tool in request.tools if isinstance(tool, FunctionTool)]
    if tools:
        body["tools"] = [{"functionDeclarations": tools}]
    if tools and isinstance(request.tool_choice, ToolChoice):
        body["toolConfig"] = {"functionCallingConfig": _tool_choice(request.tool_choice)}
    config = _generation_config(request, model)
    if config:
        body["generationConfig"] = config
    for key, value in own_fields(request.extras, WIRE_FORMAT).items():
        body.setdefault(key, value)
    return _encode(body)


def encode_embedding_request(request: EmbeddingRequest, inputs: tuple[str | tuple[int, ...], ...], model: str) -> bytes:
    """The body of `POST …:batchEmbedContents` for these of the request's inputs; `model` with its `models/`. Raises
    Unsupported for token numbers."""
    common: JSON = {"model": model}
    if request.dimensions is not None:
        common["outputDimensionality"] = request.dimensions
    return _encode({"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in texts(inputs)]})


def _generation_config(request: ChatRequest, model: str) -> JSON:
    config: JSON = {name: value for field, name in _CONFIG.items() if (value := getattr(request, field)) is not None}
    if request.n != 1:
        config["candidateCount"] = request.n
    if request.stop:
        config["stopSequences"] = request.stop
    wanted = request.response_format
    if isinstance(wanted, ResponseFormat) and wanted.kind != "text":
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = wanted.schema
    thinking = thinking_config(request, model=model)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    resolution = _resolution(request.messages)
    if resolution is not None:
        config["mediaResolution"] = resolution
    return config


def _resolution(messages: tuple[Message, ...]) -> str | None:
    """How closely images are looked at: one answer for all of them here, that of the one most is asked of."""
    asked = {part.detail for message in messages for part in message.content if isinstance(part, ImagePart)}
    return next((RESOLUTIONS[detail] for detail in ("high", "low") if detail in asked), None)


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _system(message: Message, place: int) -> Iterator[JSON]:
    """The parts of an instruction, which are texts."""
    for part in message.content if _is_system(message) else ():
        if not isinstance(part, TextPart):
            raise Unsupported("The model's provider takes instructions as text only.", param=f"messages[{place}]")
        yield _text(part)


def _contents(messages: tuple[Message, ...]) -> Iterator[JSON]:
    """The turns. The results of calls that were made at once belong in one turn."""
    names: dict[str, str] = {}
    results: list[JSON] = []
    for place, message in enumerate(messages):
        if _is_system(message):
            continue
        if message.role in ("tool", "function"):
            results.append(_result(message, names))
            results += _images(message, f"messages[{place}].content")
            continue
        if results:
            yield {"role": "user", "parts": results}
            results = []
        names |= {call.id: call.name for call in message.tool_calls if isinstance(call, ToolCall)}
        parts = list(_parts(message, f"messages[{place}]"))
        if parts:
            yield {"role": "model" if message.role == "assistant" else "user", "parts": parts}
    if results:
        yield {"role": "user", "parts": results}


def _parts(message: Message, path: str) -> Iterator[JSON]:
    for part in message.content:
        if message.role == "assistant" and part == _NOTHING:
            # It is refused; many clients send it beside calls.
            continue
        said = _part(part, f"{path}.content")
        if said is not None:
            yield said
    calls = [call for call in message.tool_calls if isinstance(call, ToolCall)]
    signed = any("thoughtSignature" in own_fields(call.extras, WIRE_FORMAT) for call in calls)
    for number, call in enumerate(calls):
        function: JSON = {"name": call.name, "args": arguments_object(call, f"{path}.tool_calls")}
        if call.id:
            function["id"] = call.id
        # Of calls made at once, the first is signed.
        proof = {} if signed or number else {"thoughtSignature": NO_SIGNATURE}
        yield {"functionCall": function, **proof, **own_fields(call.extras, WIRE_FORMAT)}


def _part(part: Part, param: str) -> JSON | None:
    match part:
        case TextPart():
            return _text(part)
        case ImagePart(url):
            media_type, data = inline_image(url, param)
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case ReasoningPart(text, extras):
            # Thoughts without their proof are of no use to it.
            proof = own_fields(extras, WIRE_FORMAT)
            return {"text": text, "thought": True, **proof} if proof else None
        case Opaque(_, extras):
            return {**own_fields(extras, WIRE_FORMAT)}


def _images(message: Message, param: str) -> Iterator[JSON]:
    """What a call's result shows beside its text."""
    said = (_part(part, param) for part in message.content if isinstance(part, ImagePart))
    return (part for part in said if part is not None)


def _text(part: TextPart) -> JSON:
    return {"text": part.text, **own_fields(part.extras, WIRE_FORMAT)}


def _result(message: Message, names: Mapping[str, str]) -> JSON:
    name = names.get(message.tool_call_id or "") or message.name or message.tool_call_id or ""
    response: JSON = {"name": name, "response": _result_object(message.text)}
    if message.tool_call_id:
        response["id"] = message.tool_call_id
    return {"functionResponse": response}


def _result_object(text: str) -> Mapping[str, object]:
    """What a call came to, as an object: as it is if it is one, under `output` if not."""
    try:
        return _fields.decode(text)
    except CANT_READ:
        return {"output": text}


def _tool(tool: FunctionTool) -> JSON:
    declaration: JSON = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.parameters is not None:
        declaration["parametersJsonSchema"] = tool.parameters
    return declaration


def _tool_choice(choice: ToolChoice) -> JSON:
    if choice.name is not None:
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    return {"mode": MODES[choice.mode]}
