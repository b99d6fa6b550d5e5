"""The OpenAPI document names every operation, its errors and who may call it."""

from django.test import Client

from kernel.api.serializers import ErrorSerializer
from tests.isolation.calls import calls

UNDOCUMENTED = {"billing/stripe/webhook": "Stripe's to call, in its own format"}


def test_every_call_is_documented_with_its_errors() -> None:
    document = Client().get("/api/schema/?format=json", headers={"accept": "application/vnd.oai.openapi+json"}).json()
    operations = {
        f"{method.upper()} {path.removeprefix('/api/v1/')}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for call in calls():
        route = "/".join(
            f"{{{part[1:-1].partition(':')[2]}}}" if part[:1] == "<" else part for part in call.route.split("/")
        )
        if route in UNDOCUMENTED:
            assert f"{call.method} {route}" not in operations
            continue
        operation = operations[f"{call.method} {route}"]
        assert {"400", "401", "403", "404", "429", "500", "503"} <= operation["responses"].keys()
        assert str(call.status) in operation["responses"]
        assert operation.get("security", []) == ([] if call.public else [{"bearer": []}])
    error = document["components"]["schemas"]["Error"]
    assert set(error["required"]) == set(ErrorSerializer().fields)


def test_operations_are_named_once() -> None:
    document = Client().get("/api/schema/?format=json", headers={"accept": "application/vnd.oai.openapi+json"}).json()
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
