"""Figures that are asked for now and then, because asking costs a read: how deep the queues are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from syncd.domain.errors import SyncdError
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.queue import Depth, Queue

#: Seconds between two looks.
LOOK = 10.0

Readings = Iterable[tuple[tuple[str, ...], float]]


class QueueGauges:
    """The last depth of each queue and how many messages are parked beside it; `run` is a service.

    `dead`: the parked messages of each queue, all at once.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        names: Sequence[str],
        dead: Callable[[], Awaitable[Mapping[str, int]]],
        clock: Clock,
        observe: Observe,
    ) -> None:
        self._queue = queue
        self._dead_of_each = dead
        self._names = names
        self._clock = clock
        self._observe = observe
        self._depths: dict[str, Depth] = {}
        self._dead: Mapping[str, int] = {}

    async def run(self) -> None:
        while True:
            for name in self._names:
                try:
                    self._depths[name] = await self._queue.depth(name)
                except SyncdError as error:
                    self._depths.pop(name, None)
                    self._observe("depth_unknown", queue=name, error=error)
            try:
                self._dead = await self._dead_of_each()
            except SyncdError as error:
                self._dead = {}
                self._observe("depth_unknown", queue="parked", error=error)
            await self._clock.sleep(LOOK)

    def waiting(self) -> Readings:
        """Messages ready or scheduled."""
        return [((name,), float((depth.ready or 0) + (depth.scheduled or 0))) for name, depth in self._depths.items()]

    def dead(self) -> Readings:
        """Messages that are parked, or were being replayed when we looked."""
        return [((name,), float(count)) for name, count in self._dead.items()]

    def oldest(self) -> Readings:
        """Seconds that the oldest ready message has been waiting."""
        return [((name,), depth.oldest_age or 0.0) for name, depth in self._depths.items()]
