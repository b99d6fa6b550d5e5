"""`Idempotency-Key` on POST (draft-ietf-httpapi-idempotency-key-header), for views: see `kernel.idempotency`.

A replay is the first answer, with `Idempotent-Replayed: true`; or 409 `idempotency_answer_withheld`, with the rest of the first
answer in its details, where that held a secret. A request that failed had no effect, and its key may be used again.
"""

import functools
import hashlib
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.encoding import escape_uri_path
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from kernel import idempotency
from kernel.idempotency import Answer, Asked
from kernel.tenancy import tenant_scope

if TYPE_CHECKING:
    from kernel.api.views import TenantAPIView

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"

Handler = Callable[..., Response]


def once(handler: Handler) -> Handler:
    """A POST handler that runs in its tenant's transaction, to have its effect once."""

    @functools.wraps(handler)
    def run(self: "TenantAPIView", request: Request, *args: Any, **kwargs: Any) -> Response:
        asked = _asked(request, self.caller.id)
        if asked is None:
            return handler(self, request, *args, **kwargs)
        known = idempotency.find(asked)
        if known is not None:
            return _replay(known)
        response = handler(self, request, *args, **kwargs)
        idempotency.write(asked, _answer(response, self.shown_once))
        return response

    return run


def claimed_once(handler: Handler) -> Handler:
    """A POST handler that opens transactions of its own: claimed before, answered after. Whatever it does must be safe to
    repeat, by nature or by `command_id`: should its process die, it is."""

    @functools.wraps(handler)
    def run(self: "TenantAPIView", request: Request, *args: Any, **kwargs: Any) -> Response:
        caller = self.caller
        asked = _asked(request, caller.id)
        if asked is None:
            return handler(self, request, *args, **kwargs)
        with tenant_scope(caller.tenant_id, person_id=caller.person_id):
            with transaction.atomic():
                known = idempotency.find(asked)
                if known is not None:
                    return _replay(known)
                claim_id = idempotency.claim(asked)
            answer: Answer | None = None
            try:
                response = handler(self, request, *args, **kwargs)
                answer = _answer(response, self.shown_once)
            finally:
                with transaction.atomic():
                    idempotency.end_claim(claim_id, answer)
        return response

    return run


def command_id(request: Request, principal_id: uuid.UUID) -> str | None:
    """A name for the command that a request with a key is, for services that know a repeated command by its `cid`; None
    without a key."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    text = "\x00".join((str(principal_id), request.method or "", request.path, key))
    return "key-" + hashlib.sha256(text.encode()).hexdigest()[:48]


def _asked(request: Request, principal_id: uuid.UUID) -> Asked | None:
    key = request.headers.get(HEADER)
    if key is None:
        return None
    said = hashlib.sha256(request.get_full_path().encode() + b"\x00" + _said(request))
    return Asked(
        principal_id=principal_id,
        method=request.method or "",
        path=escape_uri_path(request.path),
        key=key,
        digest=said.digest(),
    )


def _said(request: Request) -> bytes:
    """What a request says, to know it from others with the same key. Of an upload, which isn't read into memory and whose
    form is written anew each time it is sent, its length."""
    if (request.content_type or "").startswith("multipart/form-data"):
        return (request.headers.get("Content-Length") or "").encode()
    return request._request.body


def _answer(response: Response, shown_once: tuple[str, ...]) -> Answer:
    """The answer as it is kept: without its secrets."""
    if response.data is None:
        return Answer(response.status_code, "")
    text = JSONRenderer().render(response.data).decode()
    withheld: tuple[str, ...] = ()
    if shown_once:
        body = json.loads(text)
        withheld = tuple(name for name in shown_once if body.get(name) is not None)
        text = json.dumps({name: value for name, value in body.items() if name not in withheld})
    return Answer(response.status_code, text, withheld)


def _replay(answer: Answer) -> Response:
    body = json.loads(answer.body) if answer.body else None
    if answer.withheld:
        details = {"status": answer.status, "answer": body, "withheld": answer.withheld}
        raise idempotency.Withheld(details=details)
    return Response(body, status=answer.status, headers={REPLAYED: "true"})
