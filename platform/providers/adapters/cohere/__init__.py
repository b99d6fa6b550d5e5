"""Cohere's API (chat and embeddings of v2, the list of models of v1), as an upstream.

    request_out  ChatRequest, EmbeddingRequest → bodies of /v2/chat and /v2/embed
    answer_in    whole answers, and events of a stream → values
    errors       errors → ProviderError
    adapter      the HTTP client

What a model means to do with its tools (`tool_plan`) is reasoning. Usage is what Cohere bills: `billed_units`, which
leave out the tokens of its own instructions; `tokens` only where those are missing.

Sources: Cohere's API reference and guides.
"""

WIRE_FORMAT = "cohere"
