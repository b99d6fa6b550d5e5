"""Chat's share of what beat starts."""

from celery import shared_task

from chat.generations.reaper import reap_generations as reap
from kernel.loop import on_loop
from kernel.tasks import PlatformTask

STALE_S = 4.0
"""A message that waited longer for a worker has successors."""


@shared_task(base=PlatformTask, name="chat.reap_generations", expires=STALE_S, ignore_result=True)
def reap_generations() -> None:
    """End generations whose process died."""
    on_loop(reap())
