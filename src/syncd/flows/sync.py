"""Running one sync task: its types pulled, then pushed, in slices, with its result at the end.

    message -> task running (CAS) -> each type: pull, push -> result -> task ended (CAS)

The cursors hold how far each type is, the task says who works on it. A slice that is over gives the task back and comes again as the next
hop; so does a failure, until its retries are spent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.domain.collections import CONNECTIONS
from syncd.domain.errors import LeaseLost, SyncdError
from syncd.domain.outcomes import DONE, Continue, Outcome
from syncd.domain.pullcursor import COUNTS
from syncd.domain.records import DIRECTIONS
from syncd.flows.pullcursors import Source
from syncd.flows.subscriptions import direction_of, kind_of

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.messages import Envelope
    from syncd.domain.tasks import Ending
    from syncd.flows.pull import Pull
    from syncd.flows.pushall import PushAll
    from syncd.flows.taskruns import Run, TaskRuns
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Document, Documents
    from syncd.ports.provider import Kind, Providers

#: How long a failed slice is believed to wait for its next hop; the executor decides, and this only keeps the task from being taken for
#: stuck meanwhile. Seconds.
_FAILED_WAIT = 60.0


@dataclass(slots=True)
class _Sum:
    """What all types of a run have come to."""

    counts: JsonObject = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    failures: list[JsonObject] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, counts: JsonObject) -> None:
        for name, count in counts.items():
            self.counts[name] += count

    def with_current(self, counts: JsonObject) -> JsonObject:
        return {name: count + counts.get(name, 0) for name, count in self.counts.items()}


class Sync:
    def __init__(
        self,
        *,
        runs: TaskRuns,
        pull: Pull,
        push_all: PushAll,
        documents: Documents,
        providers: Providers,
        clock: Clock,
    ) -> None:
        self._runs = runs
        self._pull = pull
        self._push_all = push_all
        self._documents = documents
        self._providers = providers
        self._clock = clock

    async def handle(self, envelope: Envelope, body: bytes, should_pause: Callable[[], bool]) -> Outcome:
        """Work on one message of kind `task`. Raises what providers and stores raise: it is then tried again where it stopped."""
        message = await self._runs.read(envelope, body)
        run = await self._runs.begin(message, envelope)
        if run is None:
            return DONE
        try:
            return await self._work(run, envelope, should_pause)
        except LeaseLost:
            raise
        except SyncdError as error:
            wait = getattr(error, "retry_after", None) or _FAILED_WAIT
            await self._runs.pause(run, due=self._clock.now() + wait)
            raise

    async def _work(self, run: Run, envelope: Envelope, should_pause: Callable[[], bool]) -> Outcome:
        message = run.message
        connection = await self._documents.get(CONNECTIONS, message.connection_id, message.connection_id)
        if connection is None or connection.data["tenantId"] != run.tenant_id:
            await self._runs.finish(run, status="failed", counts={}, error="the connection is gone")
            return DONE
        if not connection.data.get("enabled", True):
            await self._runs.finish(run, status="failed", counts={}, error="the connection is disabled")
            return DONE
        kinds, problem = self._kinds(connection, message.entity_type)
        if problem is not None:
            await self._runs.finish(run, status="failed", counts={}, error=problem)
            return DONE
        total = _Sum()
        current = run

        async def told(counts: JsonObject) -> bool:
            nonlocal current
            current = await self._runs.checkpoint(current, total.with_current(counts))
            return current.cancel_requested or should_pause()

        done = True
        for kind in kinds:
            done = await self._one_type(run, connection, kind, envelope, total, told)
            if not done:
                break
        if current.cancel_requested:
            await self._runs.finish(current, status="cancelled", counts=total.counts)
            return DONE
        if not done:
            await self._runs.pause(current, progress=total.counts)
            return Continue()
        await self._runs.finish(
            current,
            status=_ending(total),
            counts=total.counts,
            error="; ".join(total.errors) or None,
            details={"failures": total.failures} if total.failures else None,
        )
        return DONE

    async def _one_type(
        self,
        run: Run,
        connection: Document,
        kind: Kind,
        envelope: Envelope,
        total: _Sum,
        told: Callable[[JsonObject], Awaitable[bool]],
    ) -> bool:
        """Whether the type is done. What it came to is added to `total`."""
        direction = direction_of(connection.data, kind.name)
        run_id = f"{run.task_id}~{run.generation}"
        mode = run.message.mode
        provider = self._providers[connection.data["integrationId"]]
        assert provider.records is not None
        if mode in ("pull", "bidirectional") and direction in ("pull", "both"):
            source = Source(
                connection=connection,
                records=provider.records,
                kind=kind,
                run_id=run_id,
                full=run.message.full,
                since=run.message.since,
            )
            pulled = await self._pull.slice(source, reservation=envelope.reservation, told=told)
            total.add(pulled.counts)
            total.failures += pulled.failures
            if pulled.error is not None:
                total.errors.append(f"{kind.name}: {pulled.error}")
            if not pulled.done:
                return False
        if mode in ("push", "bidirectional") and direction in ("push", "both"):
            pushed = await self._push_all.slice(connection, kind, run_id=run_id, told=told)
            total.add(pushed.counts)
            if not pushed.done:
                return False
        return True

    def _kinds(self, connection: Document, entity_type: str | None) -> tuple[list[Kind], str | None]:
        """The types to sync, or why there are none."""
        listed = connection.data.get("entities", {})
        names = [entity_type] if entity_type is not None else list(listed)
        kinds: list[Kind] = []
        for name in names:
            if direction_of(connection.data, name) not in DIRECTIONS:
                return [], f"the connection does not list {name}"
            kind = kind_of(self._providers, connection.data, name)
            if kind is not None:
                kinds.append(kind)
            elif entity_type is not None:
                return (
                    [],
                    f"{connection.data['integrationId']} has no {name}, or the connection's settings do not say where",
                )
        return (kinds, None) if kinds else ([], "the connection lists nothing that can be synced")


def _ending(total: _Sum) -> Ending:
    if total.errors:
        return "failed"
    return "partial" if total.counts["failed"] else "succeeded"
