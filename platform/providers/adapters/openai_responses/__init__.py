"""OpenAI's responses format, for callers: upstreams are reached in their own formats.

    wire         the shapes of a request
    request_in   a caller's body → AskedResponse, and that → ChatRequest
    items_in     input items → messages
    ids          names of responses and items
    response     ChatAnswer → a response object and its items
    stream_out   StreamEvent → the typed events of a stream

A caller's request becomes values that every adapter can say; what has no value, and changes the answer, stays in extras
with this format's tag, so that it is refused by name. What chat completions of OpenAI name alike goes on to those.

Source: OpenAI's API reference, and the types of its official client.
"""

WIRE_FORMAT = "openai.responses"
