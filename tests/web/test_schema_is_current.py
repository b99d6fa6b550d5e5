"""The schema from which the browser app's types are made is the one that the API has."""

import json

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

from config.settings import WEB_DIST

pytestmark = pytest.mark.no_database


def test_the_browser_app_is_built_from_the_apis_own_schema() -> None:
    described = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    current = json.loads(OpenApiJsonRenderer().render(described, renderer_context={}))
    kept = json.loads((WEB_DIST.parent / "schema.json").read_text())
    assert kept == current, "platform/web/schema.json is not the API's schema any more: run `make schema`"
