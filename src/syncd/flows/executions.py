"""Executions: one document per run of a job. A record for people; decisions rest on the tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.collections import EXECUTIONS
from syncd.domain.errors import Conflict
from syncd.domain.ids import partition_of
from syncd.domain.times import iso, parse
from syncd.ports.documents import Create, Page, Query, Replace, Upsert

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.flows.jobs import Tick, TickResult
    from syncd.ports.documents import Documents


class Executions:
    def __init__(self, *, documents: Documents) -> None:
        self._documents = documents

    async def asked(self, identifier: str, *, job: str, tick: str, now: float, by: str | None) -> None:
        """A run that was asked for and has not begun."""
        data: JsonObject = {
            "schema": EXECUTIONS.schema,
            "job": job,
            "tick": tick,
            "status": "due",
            "trigger": "manual",
            "startedAt": iso(now),
        }
        if by is not None:
            data["by"] = by
        try:
            await self._documents.write(EXECUTIONS, partition_of(identifier), [Create(identifier, data)])
        except Conflict:
            return  # it has begun meanwhile

    async def began(self, tick: Tick, *, now: float) -> None:
        await self._put(tick, {"status": "running", "startedAt": iso(now)})

    async def ended(self, tick: Tick, result: TickResult, *, began: float, now: float) -> None:
        """Written by the runner alone: the id holds its term."""
        await self._put(
            tick,
            {
                "status": result.status,
                "startedAt": iso(began),
                "finishedAt": iso(now),
                "durationMs": round((now - began) * 1000),
                "reason": result.reason,
                "evidence": result.evidence,
            },
        )

    async def abandoned(self, identifier: str, *, now: float, reason: str) -> None:
        """The run of a runner that died. What the runner managed to record itself stands."""
        found = await self._documents.get(EXECUTIONS, partition_of(identifier), identifier)
        if found is None or found.data.get("status") != "running":
            return
        began = parse(found.data["startedAt"])
        data = {
            **found.data,
            "status": "abandoned",
            "reason": reason,
            "finishedAt": iso(now),
            "durationMs": round((now - began) * 1000),
        }
        try:
            await self._documents.write(EXECUTIONS, found.partition, [Replace(found.id, data, found.etag)])
        except Conflict:
            return

    async def latest(self, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Of all jobs, newest first. The history of one job is its ticks."""
        return await self._documents.query(
            EXECUTIONS, Query(across=True, order="startedAt", descending=True, limit=limit, cursor=cursor)
        )

    async def _put(self, tick: Tick, facts: JsonObject) -> None:
        data = {
            "schema": EXECUTIONS.schema,
            "job": tick.job,
            "tick": tick.id,
            "at": iso(tick.at),
            "term": tick.term,
            "trigger": tick.trigger,
            "correlationId": tick.correlation_id,
            **facts,
        }
        await self._documents.write(EXECUTIONS, partition_of(tick.execution_id), [Upsert(tick.execution_id, data)])
