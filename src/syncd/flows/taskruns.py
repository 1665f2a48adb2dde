"""Runs of sync tasks: who works on a task now, how far it is, how it ended (decision 0).

    begin --CAS: running, term + 1, lease--> checkpoint ... --> pause (Continue, Snooze, Retry) | finish: result, then task by CAS

The task's document holds lease and state; the message is a hint and the authority about retries. A run that lost its lease finds so at
its next checkpoint and changes nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS, RESULTS, TASKS
from syncd.domain.errors import Conflict, Invalid, LeaseLost, NotUnderstood, Overloaded
from syncd.domain.taskmessages import TaskMessage, fields_of, task_of_origin
from syncd.domain.tasks import ENDED, SyncTask, result_id, result_partition
from syncd.domain.tasksteps import finished, judged, parked, paused, progressed, running, ttl_of
from syncd.domain.times import iso, parse
from syncd.ports.documents import Condition, Create, Document, Query, Replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncd.domain.errors import Bin
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Envelope
    from syncd.domain.tasks import Ending
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents
    from syncd.ports.observe import Observe

#: What a result counts.
COUNTS = ("fetched", "created", "updated", "unchanged", "deleted", "duplicates", "conflicts", "failed")
#: Seconds between two renewals of a lease; progress that is told meanwhile waits for the next.
RENEW_EVERY = 30.0
_RACES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One generation of a task in the hands of its runner. Each step answers with the run to go on with."""

    message: TaskMessage
    document: Document
    """The task as the last successful change returned it."""
    hop: int
    attempt: int
    cancel_requested: bool = False
    """Somebody asked it to stop: end at the next safe point as `cancelled`."""
    renewed_at: float

    @property
    def task_id(self) -> str:
        return self.document.id

    @property
    def tenant_id(self) -> str:
        return self.document.partition

    @property
    def generation(self) -> int:
        return int(self.document.data["generation"])

    @property
    def term(self) -> int:
        return int(self.document.data["term"])

    @property
    def result_id(self) -> str:
        return str(self.document.data["resultId"])

    @property
    def started_at(self) -> float:
        """When the generation first ran, whoever ran it. Unix seconds."""
        return parse(self.document.data["startedAt"])

    @property
    def progress(self) -> JsonObject:
        """What earlier slices of this generation have told."""
        return dict(self.document.data.get("progress") or {})


class TaskRuns:
    """`owner` is `<replica>/<boot>`. `sole`: this process alone can hold leases in the store (embedded), so that one of another boot is
    void."""

    def __init__(self, *, documents: Documents, clock: Clock, owner: str, observe: Observe, sole: bool = False) -> None:
        self._documents = documents
        self._clock = clock
        self._owner = owner
        self._observe = observe
        self._sole = sole

    async def read(self, envelope: Envelope, body: bytes | str) -> TaskMessage:
        """What the message asks for. Tenant, integration and connection that it does not name are those of its connection, or of the
        only connection that matches. Raises NotUnderstood, Invalid."""
        fields = fields_of(body)
        if not all(fields.get(name) for name in ("tenantId", "integrationId", "connectionId")):
            fields = {**await self._connection_of(fields), **{name: v for name, v in fields.items() if v}}
        return TaskMessage.of(fields, origin_id=envelope.origin_id)

    async def begin(self, message: TaskMessage, envelope: Envelope) -> Run | None:
        """Take the task's lease. None: there is nothing left to do for this message (another generation, ended, cancelled, gone); a task
        that was asked to stop has then ended as cancelled.

        Raises Overloaded until a live run of the same task ends or its lease does: the message waits and no attempt is burned.
        """
        for _ in range(_RACES):
            now = self._clock.now()
            found = await self._find(message, now)
            if found is None:
                self._observe("task_gone", taskId=message.task_id, tenantId=message.tenant_id)
                return None
            verdict = judged(
                found.data,
                generation=message.generation,
                origin=message.origin_id,
                now=now,
                owner=self._owner,
                sole=self._sole,
            )
            if verdict.word == "done":
                self._observe("task_message_idle", taskId=found.id, tenantId=found.partition, reason=verdict.why)
                return None
            if verdict.word == "wait":
                raise Overloaded(verdict.why, retry_after=max(verdict.until - now, 0.5))
            assert verdict.begun is not None
            generation = SyncTask(verdict.begun).generation
            taken = running(
                verdict.begun,
                now,
                owner=self._owner,
                result_id=result_id(message.integration_id, found.id, generation, now),
                hop=envelope.hop,
                attempt=envelope.attempt,
            )
            try:
                stored = await self._write(found, taken)
            except Conflict:
                continue
            run = Run(message=message, document=stored, hop=envelope.hop, attempt=envelope.attempt, renewed_at=now)
            if verdict.word == "cancel" or SyncTask(stored.data).cancel_requested:
                await self.finish(run, status="cancelled", counts=_counts(run.progress), error=None)
                return None
            return run
        raise Overloaded(f"the task {message.task_id} is being changed by too many at once", retry_after=1.0)

    async def checkpoint(self, run: Run, progress: JsonObject | None = None, *, save: bool = False) -> Run:
        """Look whether the run still holds its task and may go on (`cancel_requested`), and renew its lease when a third of it is over or
        with `save`. `progress`: counts so far, shown with the task. Raises LeaseLost."""
        now = self._clock.now()
        if not save and now - run.renewed_at < RENEW_EVERY:
            found = await self._mine(run)
            return replace(run, document=found, cancel_requested=SyncTask(found.data).cancel_requested)
        stored = await self._changed(run, lambda data: progressed(data, self._clock.now(), progress=progress))
        return replace(run, document=stored, cancel_requested=SyncTask(stored.data).cancel_requested, renewed_at=now)

    async def pause(self, run: Run, *, due: float | None = None, progress: JsonObject | None = None) -> None:
        """Give the lease back before the message comes again as its next hop, at `due` (Unix seconds; None: at once). A run that lost its
        lease has nothing to give back."""
        now = self._clock.now()
        try:
            await self._changed(run, lambda data: paused(data, now, due=now if due is None else due, progress=progress))
        except LeaseLost:
            return

    async def finish(
        self,
        run: Run,
        *,
        status: Ending,
        counts: JsonObject,
        error: str | None = None,
        started_at: float | None = None,
        details: JsonObject | None = None,
    ) -> None:
        """Record the end of the generation: its result, then the task. May be done again, also by a later run of the generation that
        a crash left without its end. `started_at`: Unix seconds; None: when the generation first ran. Raises LeaseLost."""
        now = self._clock.now()
        counted = _counts(counts)
        began = run.started_at if started_at is None else started_at
        await self._put_result(run, _result(run, status, counted, error, began, now, details))

        def end(data: JsonObject) -> JsonObject:
            return finished(data, now, status=status, counts=counted, error=error)

        try:
            await self._changed(run, end)
        except LeaseLost:
            found = await self._documents.get(TASKS, run.tenant_id, run.task_id)
            task = None if found is None else SyncTask(found.data)
            if task is None or task.generation != run.generation or task.status in ENDED:
                return  # it has ended, or a person went on to the next generation: nothing of ours is missing
            raise
        self._observe(
            "task_finished",
            status=status,
            mode=run.message.mode,
            duration=max(now - began, 0.0),
            taskId=run.task_id,
            tenantId=run.tenant_id,
            connectionId=run.message.connection_id,
            integrationId=run.message.integration_id,
            correlationId=run.message.correlation_id,
            error=error,
            **counted,
        )

    async def parked(self, envelope: Envelope, bin_name: Bin, reason: str, *, body: bytes | str = b"") -> None:
        """Say on the task that its message was set aside; `body` for messages without our properties. May be repeated; changes nothing
        where a later hop is under way or the generation has ended. A replay makes it running again, see `begin`."""
        place = await self._place(envelope, body)
        if place is None:
            return
        tenant_id, task_id, generation = place
        for _ in range(_RACES):
            found = await self._documents.get(TASKS, tenant_id, task_id)
            if found is None or (generation is not None and SyncTask(found.data).generation != generation):
                return
            data = parked(
                found.data,
                self._clock.now(),
                bin_name=bin_name,
                reason=reason,
                hop=envelope.hop,
                attempt=envelope.attempt,
            )
            if data is None:
                return
            try:
                await self._write(found, data)
            except Conflict:
                continue
            return

    async def _place(self, envelope: Envelope, body: bytes | str) -> tuple[str, str, int | None] | None:
        """Tenant, task and generation that a message is about; None where it does not say."""
        try:
            task_id, generation = task_of_origin(envelope.origin_id)
        except NotUnderstood:
            pass
        else:
            return None if envelope.tenant_id is None else (envelope.tenant_id, task_id, generation)
        try:
            message = TaskMessage.of(fields_of(body), origin_id=envelope.origin_id)
        except Invalid:  # it may have been parked because nobody can read it
            return None
        return message.tenant_id, message.task_id, None

    async def _find(self, message: TaskMessage, now: float) -> Document | None:
        found = await self._documents.get(TASKS, message.tenant_id, message.task_id)
        if found is not None or message.named:
            return found
        try:
            create = Create(message.task_id, message.task_document(now))
            [found] = await self._documents.write(TASKS, message.tenant_id, [create])
        except Conflict:
            found = await self._documents.get(TASKS, message.tenant_id, message.task_id)
        return found

    async def _connection_of(self, fields: JsonObject) -> JsonObject:
        """What the message leaves out, as far as one connection says it."""
        identifier = fields.get("connectionId")
        if isinstance(identifier, str) and identifier:
            found = await self._documents.get(CONNECTIONS, identifier, identifier)
            candidates = [] if found is None else [found]
        else:
            where = [Condition(name, "eq", fields[name]) for name in ("tenantId", "integrationId") if fields.get(name)]
            candidates = (await self._documents.query(CONNECTIONS, Query(across=True, where=where, limit=2))).items
        if len(candidates) != 1:
            return {}
        [one] = candidates
        return {
            "connectionId": one.id,
            "tenantId": one.data["tenantId"],
            "integrationId": one.data["integrationId"],
        }

    async def _mine(self, run: Run) -> Document:
        """The task as it is now, still in the hands of `run`. Raises LeaseLost."""
        found = await self._documents.get(TASKS, run.tenant_id, run.task_id)
        if found is None:
            raise LeaseLost(f"the task {run.task_id} is gone")
        task = SyncTask(found.data)
        if (task.status, task.term, task.generation) != ("running", run.term, run.generation) or (
            task.owner != self._owner
        ):
            raise LeaseLost(f"another run has taken the task {run.task_id} over")
        return found

    async def _changed(self, run: Run, change: Callable[[JsonObject], JsonObject]) -> Document:
        """Changed while `run` holds it, whatever else an operator changed meanwhile. Raises LeaseLost."""
        found = run.document
        for _ in range(_RACES):
            try:
                return await self._write(found, change(found.data))
            except Conflict:
                found = await self._mine(run)
        raise Overloaded(f"the task {run.task_id} is being changed by too many at once", retry_after=1.0)

    async def _write(self, found: Document, data: JsonObject) -> Document:
        [stored] = await self._documents.write(
            TASKS, found.partition, [Replace(found.id, data, found.etag, ttl=ttl_of(data))]
        )
        assert stored is not None
        return stored

    async def _put_result(self, run: Run, data: JsonObject) -> None:
        """Put if absent; a later run of the generation replaces it, an earlier one or the same leaves it."""
        partition = result_partition(run.result_id)
        for _ in range(_RACES):
            try:
                await self._documents.write(RESULTS, partition, [Create(run.result_id, data)])
                return
            except Conflict:
                found = await self._documents.get(RESULTS, partition, run.result_id)
            if found is None:
                continue
            if found.data.get("term", 0) >= run.term:
                return
            again = {**found.data, **data, "createdAt": found.data["createdAt"]}
            try:
                await self._documents.write(RESULTS, partition, [Replace(run.result_id, again, found.etag)])
                return
            except Conflict:
                continue
        raise Overloaded(f"the result {run.result_id} is being changed by too many at once", retry_after=1.0)


def _counts(given: JsonObject) -> JsonObject:
    return {name: given.get(name, 0) for name in COUNTS}


def _result(
    run: Run,
    status: Ending,
    counts: JsonObject,
    error: str | None,
    began: float,
    now: float,
    details: JsonObject | None,
) -> JsonObject:
    message = run.message
    data: JsonObject = {
        "taskId": run.task_id,
        "generation": run.generation,
        "term": run.term,
        "tenantId": run.tenant_id,
        "integrationId": message.integration_id,
        "connectionId": message.connection_id,
        "syncMode": message.mode,
        "correlationId": message.correlation_id,
        "status": status,
        "counts": counts,
        "hops": run.hop + 1,
        "attempt": run.attempt,
        "startedAt": iso(began),
        "durationMs": max(round((now - began) * 1000), 0),
        "createdAt": iso(now),
        **(details or {}),
    }
    if message.entity_type is not None:
        data["entityType"] = message.entity_type
    if error is not None:
        data["errorMessage"] = error
    return data
