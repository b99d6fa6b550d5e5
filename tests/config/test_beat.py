"""Beat goes on while no worker takes what it sends, for hours or days: what waits must not fill Redis."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.schedules import crontab, schedule

from config import beat
from config.broker import broker_url
from tests.support.servers import redis_url

pytestmark = pytest.mark.no_database
MOST = 3


@pytest.fixture
def queue() -> Iterator[str]:
    """A queue of its own, which nobody reads."""
    name = f"test-beat-{uuid.uuid4().hex[:8]}"
    yield name
    redis.Redis.from_url(redis_url(1)).delete(name)


@pytest.fixture
def scheduler(queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[beat.Scheduler]:
    """Beat's scheduler on that queue."""
    monkeypatch.setattr(beat, "BACKLOG_MAX", MOST)
    app = Celery("test", broker=broker_url(redis_url(1)), set_as_current=False)
    app.conf.task_default_queue = queue
    made = beat.Scheduler(app, schedule_filename=str(tmp_path / "schedule"), lazy=True)
    yield made
    made.connection.close()


def _send(scheduler: beat.Scheduler, when: schedule | crontab, *, times: int) -> None:
    entry = scheduler.Entry(name="due", task="some.task", schedule=when, app=scheduler.app)
    for _ in range(times):
        scheduler.apply_entry(entry, producer=scheduler.producer)


def test_what_comes_round_soon_is_not_piled_up(scheduler: beat.Scheduler, queue: str) -> None:
    _send(scheduler, schedule(timedelta(seconds=1)), times=10)
    waiting = redis.Redis.from_url(redis_url(1))
    assert waiting.llen(queue) == MOST
    waiting.lpop(queue)
    _send(scheduler, schedule(timedelta(seconds=1)), times=10)
    assert waiting.llen(queue) == MOST


def test_what_comes_round_once_a_day_is_sent_all_the_same(scheduler: beat.Scheduler, queue: str) -> None:
    _send(scheduler, schedule(timedelta(seconds=1)), times=10)
    _send(scheduler, crontab(hour="3"), times=1)
    _send(scheduler, schedule(timedelta(hours=12)), times=1)
    assert redis.Redis.from_url(redis_url(1)).llen(queue) == MOST + 2
