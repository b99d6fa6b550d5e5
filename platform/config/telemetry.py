"""OpenTelemetry: traces leave by OTLP over HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and cost next to nothing when not.

The spans themselves are made where the work is (`providers.pipeline`), with the `gen_ai.*` conventions.
"""

import os

from django.conf import settings
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def start_telemetry(process: str) -> None:
    """Export this process's traces, if there is somewhere to. Once per process."""
    if not settings.OTLP_ENDPOINT or isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    # It takes a while to import, which a process that exports nothing need not wait for.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource.create({"service.name": f"parley-{process}", "service.instance.id": str(os.getpid())})
    provider = TracerProvider(resource=resource)
    endpoint = settings.OTLP_ENDPOINT.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5)))
    trace.set_tracer_provider(provider)
