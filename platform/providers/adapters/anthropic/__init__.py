"""Anthropic's messages format: both directions, for the gateway and for upstreams.

    request_in   a caller's body → ChatRequest
    request_out  ChatRequest → an upstream's body
    thinking     how much a model is to think, in this format's words and in others'
    answer_in    an upstream's answer → ChatAnswer, StreamEvent
    answer_out   ChatAnswer, StreamEvent → a caller's answer
    errors       an upstream's error → ProviderError, and ParleyError → a caller's error
    models_out   the list of models
    facts        how models that share the format differ, as data
    wire         the shapes of a request
    adapter      the HTTP client

What values have no field for travels as extras of this format. Beside fields of the format itself these are:

    anthropic-beta   of a request: the header of that name
    content_index    of a tool call: how many content parts of its turn come before it, when not all do
    boundary         of an answer: here one block ends and another of the same kind begins
    blocks           of an answer: blocks that have no value, whole
    delta, usage     of an answer: what its end says beyond its values

Sources: Anthropic's API reference and its official client.
"""

WIRE_FORMAT = "anthropic.messages"
VERSION = "2023-06-01"
"""Of the API. The later one refuses more and says the same."""
