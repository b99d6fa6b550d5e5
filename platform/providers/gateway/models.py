"""`GET /v1/models` and `GET /v1/models/{alias}`."""

from providers import routes
from providers.adapters.openai.models_out import encode_model, encode_models
from providers.gateway.http import Request, Responder
from providers.routes import ModelNotFound
from tenants.principals import Principal


async def list_models(request: Request, responder: Responder, principal: Principal) -> None:
    """The models this caller may use."""
    await responder.whole(200, encode_models(await routes.list_models(principal)))


async def retrieve_model(request: Request, responder: Responder, principal: Principal) -> None:
    """One of them. Raises `ModelNotFound`."""
    alias = request.path.removeprefix("/v1/models/")
    for entry in await routes.list_models(principal):
        if entry.alias == alias:
            await responder.whole(200, encode_model(entry))
            return
    raise ModelNotFound(f"The model {alias[:200]!r} does not exist, or you may not use it.", details={"param": "model"})
