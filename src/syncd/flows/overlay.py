"""The stored overlay of settings: what `PATCH /api/v1/settings` adds on top of file and environment.

One document says what is in force and as which version; each version is kept beside it, written in the same batch. Whoever
changes it decides on the version it read (compare-and-set), so that two pipelines never lose each other's keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncd.domain.collections import SETTINGS
from syncd.domain.errors import Conflict
from syncd.domain.times import iso
from syncd.ports.documents import Create, Replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.ports.clock import Clock
    from syncd.ports.documents import Documents, Write

#: Id and partition of the one overlay; its versions lie beside it as `overlay~<version>`.
OVERLAY = "overlay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaid:
    """`values`: dotted key -> value, as `sync.batch_size: 50`. Version 0 is the empty overlay before the first change."""

    version: int = 0
    values: Mapping[str, Json] = field(default_factory=dict)
    updated_at: str | None = None
    updated_by: str | None = None
    etag: str | None = None


class Overlay:
    def __init__(self, *, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def current(self) -> Overlaid:
        """What is in force. Read at start and at each reload."""
        found = await self._documents.get(SETTINGS, OVERLAY, OVERLAY)
        if found is None:
            return Overlaid()
        data = SETTINGS.upgraded(found.data)
        return Overlaid(
            version=data["version"],
            values=data["values"],
            updated_at=data["updatedAt"],
            updated_by=data["updatedBy"],
            etag=found.etag,
        )

    async def write(self, values: Mapping[str, Json], *, base: Overlaid, actor: str) -> Overlaid:
        """Make `values` the whole overlay, as the version after `base`. Raises Conflict where somebody else was first."""
        version = base.version + 1
        now = iso(self._clock.now())
        document: JsonObject = {
            "schema": SETTINGS.schema,
            "version": version,
            "values": dict(values),
            "updatedAt": now,
            "updatedBy": actor,
        }
        pointer: Write = Create(OVERLAY, document) if base.etag is None else Replace(OVERLAY, document, base.etag)
        try:
            stored = await self._documents.write(
                SETTINGS, OVERLAY, [pointer, Create(f"{OVERLAY}~{version:09d}", document)]
            )
        except Conflict as error:
            raise Conflict("the settings overlay was changed by somebody else; read it again") from error
        assert stored[0] is not None
        return Overlaid(version=version, values=dict(values), updated_at=now, updated_by=actor, etag=stored[0].etag)
