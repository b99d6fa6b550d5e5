"""OpenAI's chat completions format, which most providers speak: both directions, for the gateway and for
upstreams.

    request_in   a caller's body → ChatRequest
    request_out  ChatRequest → an upstream's body
    answer_in    an upstream's answer → ChatAnswer, StreamEvent
    answer_out   ChatAnswer, StreamEvent → a caller's answer
    errors       an upstream's error → ProviderError, and ParleyError → a caller's error
    dialect      how providers that share the format differ, as data
    wire         the shapes of a request
    adapter      the HTTP client

Sources: OpenAI's API reference, and recordings of the providers named in `providers.registry`.
"""

WIRE_FORMAT = "openai.chat"
