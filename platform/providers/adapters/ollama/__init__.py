"""Ollama's own API, as an upstream: what its imitation of OpenAI's leaves out (thinking, context errors, real options).

    request_out  ChatRequest, EmbeddingRequest → bodies of /api/chat and /api/embed
    answer_in    whole answers, and lines of a stream → values
    errors       errors → ProviderError
    adapter      the HTTP client

Sources: Ollama's API reference (docs/api.md of its repository) and its official Python client.
"""

WIRE_FORMAT = "ollama"
