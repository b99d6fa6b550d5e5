"""The OpenAI-compatible API, as a slim ASGI app ahead of Django's middleware."""
