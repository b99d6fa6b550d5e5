"""Chat's share of what beat starts."""

from celery import shared_task

from chat.generations.reaper import reap_generations as reap
from chat.loop import on_loop
from kernel.tasks import PlatformTask

REAP_EVERY_S = 2.0


@shared_task(base=PlatformTask, name="chat.reap_generations", expires=REAP_EVERY_S * 2, ignore_result=True)
def reap_generations() -> None:
    """End generations whose process died."""
    on_loop(reap())
