"""A server that speaks Stripe's wire format: form-encoded requests with nested names, JSON answers, `Idempotency-Key`, errors in
Stripe's envelope, and webhooks signed by `Stripe-Signature`. https://docs.stripe.com/api

`with StripeServer() as stripe:` listens on a free port of loopback, in a thread. What customers do on Stripe's pages, and what
banks do, tests do by `pay`, `refund`, `dispute`, `invoice`; `event` tells of it as Stripe would."""

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

SECRET_KEY = "sk_test_of_the_fake"
WEBHOOK_SECRET = "whsec_of_the_fake"
API_VERSION = "2026-10-28"
PLAIN = {"/v1/customers": ("cus", "customer"), "/v1/products": ("prod", "product")}
"""What is made of what is said, without more."""
Json = dict[str, Any]


class StripeServer:
    """`objects` by id; `asked` are the requests as (method, path, form)."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.asked: list[tuple[str, str, Json]] = []
        self.fails_next = 0
        self.declines_next = 0
        self._answers: dict[str, tuple[Json, int, Json]] = {}
        handler = type("Handler", (_Handler,), {"stripe": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    # What happens at Stripe.

    def pay(self, session_id: str, *, currency: str = "usd") -> str:
        """Somebody pays on a page; the payment's id, or the subscription's."""
        session = self.objects[session_id]
        session |= {"status": "complete", "payment_status": "paid"}
        if session["mode"] == "subscription":
            item = self.add("si", {"object": "subscription_item", "quantity": 1})
            made = self.add("sub", {"object": "subscription", "customer": session["customer"], "status": "active"})
            made["items"] = {"object": "list", "data": [item], "has_more": False, "url": "/v1/subscription_items"}
            session["subscription"] = made["id"]
            return str(made["id"])
        made = self.payment(session["customer"], session["amount_total"], currency=currency)
        session["payment_intent"] = made["id"]
        return str(made["id"])

    def payment(self, customer: str, amount: int, *, currency: str = "usd") -> Json:
        """A payment that succeeded."""
        charge = self.add("ch", {"object": "charge", "amount": amount, "amount_refunded": 0, "customer": customer})
        intent = self.add(
            "pi",
            {
                "object": "payment_intent",
                "customer": customer,
                "currency": currency,
                "status": "succeeded",
                "amount": amount,
                "amount_received": amount,
                "latest_charge": charge["id"],
            },
        )
        charge["payment_intent"] = intent["id"]
        return intent

    def refund(self, intent_id: str, amount: int) -> Json:
        """Some of a payment goes back (or, if less than nothing, a refund fails)."""
        charge = self.objects[self.objects[intent_id]["latest_charge"]]
        charge["amount_refunded"] += amount
        return charge

    def dispute(self, intent_id: str, amount: int) -> Json:
        """A bank takes some of a payment back."""
        return self.add(
            "dp",
            {
                "object": "dispute",
                "payment_intent": intent_id,
                "charge": self.objects[intent_id]["latest_charge"],
                "amount": amount,
                "currency": "usd",
                "status": "needs_response",
            },
        )

    def invoice(self, customer: str, amount: int, *, is_paid: bool) -> Json:
        """An invoice of a subscription."""
        payments: list[Json] = []
        if is_paid:
            intent = self.payment(customer, amount)
            payments = [
                {
                    "object": "invoice_payment",
                    "status": "paid",
                    "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
                }
            ]
        return self.add(
            "in",
            {
                "object": "invoice",
                "customer": customer,
                "currency": "usd",
                "status": "paid" if is_paid else "open",
                "amount_paid": amount if is_paid else 0,
                "payments": {"object": "list", "data": payments, "has_more": False, "url": "/v1/invoice_payments"},
            },
        )

    def event(
        self, kind: str, about: Mapping[str, Any], *, at: float | None = None, secret: str = WEBHOOK_SECRET
    ) -> tuple[bytes, str]:
        """An event's body and signature. https://docs.stripe.com/webhooks#verify-manually"""
        body = json.dumps(
            {
                "id": f"evt_{secrets.token_hex(8)}",
                "object": "event",
                "api_version": API_VERSION,
                "type": kind,
                "data": {"object": about},
            }
        ).encode()
        return body, signed(body, at=at, secret=secret)

    def add(self, prefix: str, values: Json) -> Json:
        """A new object."""
        made = {"id": f"{prefix}_{secrets.token_hex(8)}", **values}
        self.objects[made["id"]] = made
        return made

    # What is asked of Stripe.

    def answer(self, method: str, path: str, form: Json, key: str | None) -> tuple[int, Json]:
        """As Stripe answers."""
        self.asked.append((method, path, form))
        if self.fails_next:
            self.fails_next -= 1
            return 500, _error("api_error", "Something went wrong on Stripe's end.")
        if key is not None and key in self._answers:
            first, status, body = self._answers[key]
            if first != {"path": path, **form}:
                return 400, _error("idempotency_error", "Keys for idempotent requests can only be used with the same.")
            return status, body
        status, body = self._do(method, path, form)
        if key is not None:
            self._answers[key] = ({"path": path, **form}, status, body)
        return status, body

    def _do(self, method: str, path: str, form: Json) -> tuple[int, Json]:
        parts = path.removeprefix("/v1/").split("/")
        if method == "POST" and path in PLAIN:
            prefix, kind = PLAIN[path]
            return 200, self.add(prefix, {"object": kind, **form})
        if method == "POST" and path == "/v1/checkout/sessions":
            return self._new_session(form)
        if method == "GET" and path == "/v1/disputes":
            mine = [one for one in self.objects.values() if one.get("payment_intent") == form["payment_intent"]]
            disputes = [one for one in mine if one["object"] == "dispute"]
            return 200, {"object": "list", "data": disputes, "has_more": False, "url": path}
        found = self.objects.get(parts[-1])
        if found is None:
            return 404, _error("invalid_request_error", f"No such object: '{parts[-1]}'", code="resource_missing")
        if method == "DELETE":
            found["status"] = "canceled"
        elif method == "POST":
            if refused := self._change_items(found, form):
                return refused
            found |= {name: value for name, value in form.items() if name != "items"}
        if "latest_charge" in form.get("expand", {}).values():
            found = {**found, "latest_charge": self.objects[found["latest_charge"]]}
        return 200, found

    def _change_items(self, subscription: Json, form: Json) -> tuple[int, Json] | None:
        """Another price or quantity of a subscription's items. https://docs.stripe.com/api/subscriptions/update"""
        items = list(form.get("items", {}).values())
        if items and self.declines_next:
            self.declines_next -= 1
            return 402, _error("card_error", "Your card was declined.", code="card_declined")
        for item in items:
            price = dict(item["price_data"])
            if price.get("product") not in self.objects or item["id"] not in self.objects:
                return 400, _error("invalid_request_error", "No such product, or item", code="resource_missing")
            price |= {"unit_amount": int(price["unit_amount"])}
            self.objects[item["id"]] |= {"quantity": int(item["quantity"]), "price": price}
        return None

    def _new_session(self, form: Json) -> tuple[int, Json]:
        if form.get("customer") not in self.objects:
            return 400, _error("invalid_request_error", "No such customer", code="resource_missing")
        lines = form["line_items"].values()
        return 200, self.add(
            "cs_test",
            {
                "object": "checkout.session",
                "mode": form["mode"],
                "customer": form["customer"],
                "status": "open",
                "payment_status": "unpaid",
                "payment_intent": None,
                "subscription": None,
                "amount_total": sum(int(one["quantity"]) * int(one["price_data"]["unit_amount"]) for one in lines),
                "currency": next(iter(lines))["price_data"]["currency"],
                "url": "https://checkout.stripe.example/pay",
            },
        )


def signed(body: bytes, *, at: float | None = None, secret: str = WEBHOOK_SECRET) -> str:
    """The value of `Stripe-Signature`, in code that shares nothing with Stripe's library."""
    moment = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


def _error(kind: str, message: str, *, code: str | None = None) -> Json:
    return {"error": {"type": kind, "message": message, "code": code}}


def _nested(text: str) -> Json:
    """`a[b][0][c]=d` as dictionaries in one another."""
    form: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        first, *rest = re.findall(r"[^\[\]]+", name)
        place = form
        for part in [first, *rest][:-1]:
            place = place.setdefault(part, {})
        place[[first, *rest][-1]] = value
    return form


class _Handler(BaseHTTPRequestHandler):
    stripe: StripeServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            status, body = 401, _error("invalid_request_error", "Invalid API Key provided")
        elif sent and self.headers.get("content-type") != "application/x-www-form-urlencoded":
            status, body = 400, _error("invalid_request_error", "Unknown content type")
        else:
            form = _nested(sent or parts.query)
            status, body = self.stripe.answer(self.command, parts.path, form, self.headers.get("idempotency-key"))
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing."""
