"""The browser app's page and the API's documentation."""

import html
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from drf_spectacular.generators import SchemaGenerator

_NOT_BUILT = "<!doctype html><title>Parley</title><p>The browser app isn't built yet. Run <code>make web</code>."


@method_decorator(never_cache, name="dispatch")
class BrowserAppView(View):
    """The app's one page, for every path that the app routes itself."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        page = settings.WEB_DIST / "index.html"
        if not page.is_file():
            return HttpResponse(_NOT_BUILT, status=503)
        return HttpResponse(page.read_bytes(), content_type="text/html; charset=utf-8")


class DocsView(View):
    """The REST API, as one plain page made from the schema: it needs no script from elsewhere."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(_docs_page(), content_type="text/html; charset=utf-8")


@cache
def _docs_page() -> str:
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rows = []
    for path, methods in sorted(schema["paths"].items()):
        for method, operation in methods.items():
            text = html.escape(operation.get("description") or operation["operationId"])
            rows.append(f"<tr><td><code>{method.upper()}</code><td><code>{html.escape(path)}</code><td>{text}")
    title = html.escape(schema["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}: REST API</title><h1>{title}: REST API</h1>"
        f"<p>{html.escape(schema['info']['description'])} The whole schema: <a href='/api/schema/'>/api/schema/</a>."
        f"<table><thead><tr><th>Method<th>Path<th>What it does</thead><tbody>{''.join(rows)}</tbody></table>"
    )
