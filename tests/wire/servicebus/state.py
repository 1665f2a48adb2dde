"""An entity as a test looks at it."""

from __future__ import annotations

from tests.wire.servicebus.entity import Entity
from tests.wire.servicebus.specs import EntitySpec, Row


class QueueState:
    """Always what is true now: each look lets happen first what is due. Rows are in order of their sequence numbers."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity

    @property
    def spec(self) -> EntitySpec:
        return self._entity.spec

    @property
    def messages(self) -> list[Row]:
        """All but the dead letters."""
        self._entity.expire()
        return [self._entity.stored[number].row() for number in sorted(self._entity.stored)]

    def _in_state(self, state: str) -> list[Row]:
        return [row for row in self.messages if row.state == state]

    @property
    def active(self) -> list[Row]:
        return self._in_state("active")

    @property
    def locked(self) -> list[Row]:
        return self._in_state("locked")

    @property
    def scheduled(self) -> list[Row]:
        return self._in_state("scheduled")

    @property
    def deferred(self) -> list[Row]:
        return self._in_state("deferred")

    @property
    def dead_letters(self) -> list[Row]:
        self._entity.expire()
        return QueueState(self._entity.dead).messages if self._entity.dead is not None else []

    def __len__(self) -> int:
        """How many messages there are, dead letters left out; quick."""
        self._entity.expire()
        return len(self._entity.stored)
