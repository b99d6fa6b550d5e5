"""OpenAI's chat completions format, which most providers speak, with its legacy completions and embeddings: both
directions, for the gateway and for upstreams.

    request_in   a caller's body → ChatRequest
    request_out  ChatRequest → an upstream's body
    answer_in    an upstream's answer → ChatAnswer, StreamEvent
    answer_out   ChatAnswer, StreamEvent → a caller's answer
    text_in      a caller's legacy completion → ChatRequest
    text_out     ChatRequest → an upstream's body; ChatAnswer, StreamEvent → a caller's text completion
    embeddings   all four of embeddings
    usage        usage, both directions
    errors       an upstream's error → ProviderError, and ParleyError → a caller's error
    dialect      how providers that share the format differ, as data
    wire, bodies the shapes of a request, and how they are read
    adapter      the HTTP client

Sources: OpenAI's API reference, and recordings of the providers named in `providers.registry`.
"""

WIRE_FORMAT = "openai.chat"
TEXT_FORMAT = "openai.completions"
