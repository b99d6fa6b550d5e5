"""When what is due goes to workers, and when it had better not: while none takes it, messages would fill Redis, which forgets
none of them."""

from datetime import timedelta
from typing import Any

import structlog
from celery.beat import PersistentScheduler, ScheduleEntry

log = structlog.get_logger(__name__)

BACKLOG_MAX = 10_000
"""Messages that wait. With more of them, what comes round again soon is left out."""
SOON = timedelta(minutes=5)


class Scheduler(PersistentScheduler):
    """Celery's own, which sends nothing frequent to workers that are far behind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._is_behind = False
        super().__init__(*args, **kwargs)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send a task that is due, unless so many wait that its successor is early enough."""
        if _comes_round_soon(entry) and self._workers_are_behind():
            return
        super().apply_entry(entry, producer=producer)

    def _workers_are_behind(self) -> bool:
        waiting = self._waiting()
        behind = waiting >= BACKLOG_MAX
        if behind and not self._is_behind:
            log.error("workers_behind", waiting=waiting)
        self._is_behind = behind
        return behind

    def _waiting(self) -> int:
        channel: Any = self.producer.channel
        try:
            queue = channel.queue_declare(queue=self.app.conf.task_default_queue, passive=True)
        except (*self.connection.channel_errors, *self.connection.connection_errors):
            # An empty queue isn't there. A broker that is away is told of where the task is sent.
            return 0
        return int(queue.message_count)


def _comes_round_soon(entry: ScheduleEntry) -> bool:
    every: timedelta | None = getattr(entry.schedule, "run_every", None)
    return every is not None and every <= SOON
