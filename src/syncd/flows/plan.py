"""The planner: every task that is due is put into its queue, high priority first (guarantees, SyncTask).

    due tasks, page by page --CAS: queued--> one send per queue

Killed between the two, a task is queued without a message: nothing is heard of it, and `revive` sends it again. Any number of planners
may run at once: who loses the compare-and-set has nothing to send.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from syncd.domain.collections import TASKS
from syncd.domain.errors import Conflict
from syncd.domain.ids import ulid
from syncd.domain.taskmessages import body_for, envelope_for, queue_of
from syncd.domain.tasks import AT_REST, PRIORITIES, SyncTask, priority_of, zone_of
from syncd.domain.tasksteps import queued, revived, ttl_of
from syncd.domain.times import DAY, HOUR, iso, parse_or_none
from syncd.flows.jobs import TickResult
from syncd.flows.together import together
from syncd.ports.documents import BATCH_LIMIT, Condition, Query, Replace
from syncd.ports.queue import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.jobs import Tick
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.observe import Observe
    from syncd.ports.queue import Queue

#: Seconds for which a repeated send of one hop is absorbed: longer than anybody takes to resume a plan.
RESEND_WINDOW = DAY
#: How often a batch that met others' changes is read and judged again before its tasks are tried one by one.
_RACES = 4
#: Missing and unknown priorities are normal, so that one is asked for in two ways.
_PRIORITIES: tuple[tuple[Condition, ...], ...] = (
    (Condition("priority", "eq", "high"),),
    (Condition("priority", "ne", "high"), Condition("priority", "ne", "low")),
    (Condition("priority", "absent"),),
    (Condition("priority", "eq", "low"),),
)
#: Those that the API shape has switched off keep the time at which they would have been due.
_MOVING = tuple(Condition("status", "ne", status) for status in sorted(AT_REST))
#: Seconds between two looks for tasks that another system left queued or running.
_FOREIGN_EVERY = HOUR


class Plan:
    """`batch_size`: due tasks read, queued and sent at a time; a tick goes on until none is due."""

    def __init__(
        self, *, documents: Documents, queue: Queue, clock: Clock, observe: Observe, batch_size: int = 100
    ) -> None:
        self._documents = documents
        self._queue = queue
        self._clock = clock
        self._observe = observe
        self._batch_size = batch_size
        self._one_at_a_time = anyio.Lock()
        self._foreign_at: float | None = None

    async def run(self, tick: Tick | None = None) -> TickResult:
        """Queue all that is due. Without a tick: somebody said that there is work."""
        count = await self.queue_due(correlation_id=None if tick is None else tick.correlation_id)
        return TickResult(evidence={"scheduled": count})

    async def queue_due(self, *, correlation_id: str | None = None) -> int:
        """How many were queued by this call."""
        async with self._one_at_a_time:
            now = self._clock.now()
            correlation = correlation_id or ulid(now)

            def step(found: Document) -> JsonObject | None:
                return queued(found.data, now, correlation_id=correlation) if SyncTask(found.data).due(now) else None

            count = 0
            waiting: list[Document] = []
            async for page in self._due(now):
                waiting += page
                if len(waiting) >= self._batch_size:
                    count += await self._step_and_send(waiting, step, after_seen=0)
                    waiting = []
            count += await self._step_and_send(waiting, step, after_seen=0)
        self._observe("tasks_scheduled", count=count, correlationId=correlation)
        return count

    async def next_due(self) -> float | None:
        """The earliest time after now at which a task is due by its schedule; None where there is none."""
        now = iso(self._clock.now())
        found: list[float] = []
        for path in ("nextScheduled", "nextRunAt"):
            query = Query(across=True, where=(Condition(path, "gt", now),), order=path, limit=1)
            for document in (await self._documents.query(TASKS, query)).items:
                at = parse_or_none(document.data[path])
                if at is not None:
                    found.append(at)
        return min(found, default=None)

    async def revive(self, *, limit: int = 1000) -> int:
        """Send again, as the hop after the highest that was seen, what nothing was heard of: the duty of maintenance. At most about
        `limit` in one call; how many were sent."""
        now = self._clock.now()

        def step(found: Document) -> JsonObject | None:
            return revived(found.data, now) if SyncTask(found.data).stuck(now) else None

        count = 0
        async for page in self._stuck(now):
            count += await self._step_and_send(page, step, after_seen=1)
            if count >= limit:
                break
        if count:
            self._observe("tasks_revived", count=count)
        return count

    async def _due(self, now: float) -> AsyncIterator[list[Document]]:
        """Pages of what is due, high priority first. Tasks leave the result as they are queued, and cursors do not care."""
        pages = [await self._documents.query(TASKS, query) for query in self._queries(now, ())]
        if all(page.cursor is None for page in pages):  # the usual tick: sorted here
            found = [one for page in pages for one in page.items if SyncTask(one.data).due(now)]
            yield sorted(found, key=lambda one: PRIORITIES.index(priority_of(one.data)))
            return
        for priority in _PRIORITIES:
            for query in self._queries(now, priority):
                async for items in self._pages(query):
                    yield [one for one in items if SyncTask(one.data).due(now)]

    def _queries(self, now: float, priority: Sequence[Condition]) -> list[Query]:
        moment, limit = iso(now), self._batch_size
        pending = (Condition("status", "eq", "pending"), *priority)
        timed = [
            Query(across=True, where=(Condition(path, "le", moment), *rest, *priority), order=path, limit=limit)
            for path, rest in (("nextScheduled", ()), ("nextRunAt", _MOVING))
        ]
        return [Query(across=True, where=pending, limit=limit), *timed]

    async def _stuck(self, now: float) -> AsyncIterator[list[Document]]:
        query = Query(
            across=True, where=(Condition("checkAt", "le", iso(now)),), order="checkAt", limit=self._batch_size
        )
        async for page in self._pages(query):
            yield page
        if self._foreign_at is not None and now - self._foreign_at < _FOREIGN_EVERY:
            return
        for status in ("queued", "running", "processing"):
            left = (Condition("status", "eq", status), Condition("checkAt", "absent"))
            async for page in self._pages(Query(across=True, where=left, limit=self._batch_size)):
                yield page
        self._foreign_at = now

    async def _pages(self, query: Query) -> AsyncIterator[list[Document]]:
        cursor: str | None = None
        while True:
            page = await self._documents.query(TASKS, replace(query, cursor=cursor))
            if page.items:
                yield page.items
            cursor = page.cursor
            if cursor is None:
                return

    async def _step_and_send(
        self, found: Sequence[Document], step: Callable[[Document], JsonObject | None], *, after_seen: int
    ) -> int:
        """Change those that `step` changes, then send their messages. How many were changed by us."""
        places = {(one.partition, one.id): (at, one) for at, one in enumerate(found)}
        ordered = sorted([one for _, one in places.values()], key=lambda one: one.partition)
        batches: list[tuple[str, list[Document]]] = []
        for partition, members in groupby(ordered, key=lambda one: one.partition):
            documents = list(members)
            batches += [(partition, documents[at : at + BATCH_LIMIT]) for at in range(0, len(documents), BATCH_LIMIT)]
        changed: list[Document] = []

        async def one_batch(partition: str, documents: list[Document]) -> None:
            changed.extend(await self._step(partition, documents, step))

        await together([partial(one_batch, *batch) for batch in batches])
        changed.sort(key=lambda one: places[one.partition, one.id][0])  # lanes are not everywhere
        queues: dict[str, list[Message]] = {}
        for document in changed:
            task = SyncTask(document.data)
            now = self._clock.now()
            envelope = envelope_for(document.data, document.id, task, now, hop=task.hop + after_seen)
            message = Message(
                envelope=envelope,
                body=body_for(document.data, document.id, task, now),
                dedupe_id=envelope.broker_id,
                dedupe_window=RESEND_WINDOW,
            )
            queues.setdefault(queue_of(task), []).append(message)
        await together([partial(self._queue.send, name, messages) for name, messages in queues.items()])
        return len(changed)

    async def _step(
        self, partition: str, documents: list[Document], step: Callable[[Document], JsonObject | None]
    ) -> list[Document]:
        """One batch, all or none; where others changed some meanwhile, those are read and judged again."""
        for _ in range(_RACES):
            writes = await _writes(documents, step)
            if not writes:
                return []
            try:
                stored = await self._documents.write(TASKS, partition, writes)
            except Conflict:
                fresh = await self._documents.get_many(TASKS, [(partition, write.id) for write in writes])
                documents = [one for one in fresh if one is not None]
            else:
                return [one for one in stored if one is not None]
        changed: list[Document] = []
        for write in await _writes(documents, step):
            try:
                stored = await self._documents.write(TASKS, partition, [write])
            except Conflict:
                continue  # others are at it: what is still due then is found by the next look
            changed += [one for one in stored if one is not None]
        return changed


async def _writes(documents: Sequence[Document], step: Callable[[Document], JsonObject | None]) -> list[Replace]:
    def decide() -> list[Replace]:
        changes = ((found, step(found)) for found in documents)
        return [Replace(found.id, data, found.etag, ttl=ttl_of(data)) for found, data in changes if data is not None]

    if any(zone_of(found.data) != "UTC" for found in documents):  # its files are read
        return await anyio.to_thread.run_sync(decide)
    return decide()
