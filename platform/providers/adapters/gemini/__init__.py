"""Google's Gemini API, as an upstream.

    request_out  ChatRequest, EmbeddingRequest → bodies of generateContent and batchEmbedContents
    thinking     how hard a model is to think, in the words of its generation
    answer_in    whole answers, and frames of a stream → values
    errors       errors (google.rpc.Status) → ProviderError
    adapter      the HTTP client

Sources: the reference of the Gemini API (v1beta) and Google's official Python client.
"""

WIRE_FORMAT = "gemini"
