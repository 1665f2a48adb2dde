"""What the workers of Taskiq and Celery import: one job that does nothing, in each library's fastest documented settings."""

from __future__ import annotations

import os

from celery import Celery
from taskiq_redis import RedisStreamBroker

URL = os.environ.get("QUEUE_REFERENCE_URL", "redis://127.0.0.1:6379/0")
#: The same guarantee as syncd's: a job is acknowledged when it is done, so that the death of a worker loses none.
STREAM = "reference"

#: `consumer_id="0"`: jobs sent before the worker came are taken too. Reading 1,000 at a time is faster than the default 100.
broker = RedisStreamBroker(URL, queue_name=STREAM, consumer_id="0", xread_count=1000, max_connection_pool_size=64)

app = Celery("reference", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,  # no result store, as for Taskiq
    worker_prefetch_multiplier=128,  # "many tasks with a short duration": Celery's guide on optimising
    broker_pool_limit=64,
    task_create_missing_queues=True,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
    task_send_sent_event=False,
)


@broker.task(task_name="nothing")
async def nothing() -> None:
    """The handler that is measured."""


@app.task(name="nothing")
def celery_nothing() -> None:
    """The handler that is measured."""
