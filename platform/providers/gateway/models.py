"""`GET /v1/models` and `GET /v1/models/{alias}`, in the form of the API whose client asks."""

from providers import routes
from providers.adapters.anthropic import models_out as anthropic
from providers.adapters.openai.models_out import encode_model, encode_models
from providers.gateway.anthropic import page_of_models, speaks_anthropic
from providers.gateway.http import Request, Responder
from tenants.principals import Principal


async def list_models(request: Request, responder: Responder, principal: Principal) -> None:
    """The models this caller may use."""
    models = await routes.list_models(principal)
    body = page_of_models(models, request.query) if speaks_anthropic(request) else encode_models(models)
    await responder.whole(200, body)


async def retrieve_model(request: Request, responder: Responder, principal: Principal) -> None:
    """One of them, also by a name that one of their wildcards stands for. Raises `ModelNotFound`."""
    entry = await routes.find_model(principal, request.path.removeprefix("/v1/models/"))
    encode = anthropic.encode_model if speaks_anthropic(request) else encode_model
    await responder.whole(200, encode(entry))
