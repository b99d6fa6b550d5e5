"""The Celery app: worker and beat. What tasks may be, and how they know their tenant, is in `kernel.tasks`."""

import os

from celery import Celery
from celery.signals import worker_init
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("parley")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()


@worker_init.connect
def start_worker(**_: object) -> None:
    """What a worker needs once Django is set up."""
    from chat.answering import bind
    from chat.pipeline_answering import PipelineAnswering
    from config.checks import require_secrets
    from config.telemetry import start_telemetry

    require_secrets()
    start_telemetry("worker")
    bind(PipelineAnswering())
