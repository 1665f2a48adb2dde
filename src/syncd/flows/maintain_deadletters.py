"""What a broker put aside by itself becomes a parked message, which people find, repair and replay (G6).

    leased from the broker's dead letters -> parked (put if absent) -> completed there

Killed in between, the dead letter comes again, and parking it again is the same document.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from syncd.domain.errors import SyncdError
from syncd.flows.together import together
from syncd.ports.queue import Complete, Release

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from syncd.domain.errors import Bin
    from syncd.ports.deadletters import DeadLetter, DeadLetters
    from syncd.ports.queue import Delivery, Queue

#: The broker's word for a message that outlived its time to live.
#: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-dead-letter-queues
TOO_OLD = "TTLExpiredException"
#: Leased at a time, and drained from one queue in one pass.
_BATCH = 100
_MOST = 1000
#: Parked at the same moment.
_AT_ONCE = 16


class DrainDeadLetters:
    """`park` sets a message aside durably and may be repeated."""

    def __init__(
        self,
        *,
        dead_letters: DeadLetters,
        queue: Queue,
        queues: Sequence[str],
        park: Callable[[Delivery, Bin, str], Awaitable[object]],
    ) -> None:
        self._dead_letters = dead_letters
        self._queue = queue
        self._queues = tuple(queues)
        self._park = park

    async def drain(self) -> int:
        """How many were kept. Raises, when all queues have been looked at, what the first failed with."""
        kept = 0
        failure: SyncdError | None = None
        for queue in self._queues:
            try:
                kept += await self._drain(queue)
            except SyncdError as error:  # one that is missing or locked does not keep the others from being drained
                failure = failure or error
        if failure is not None:
            raise failure
        return kept

    async def _drain(self, queue: str) -> int:
        kept = 0
        while kept < _MOST:
            letters = await self._dead_letters.dead_letters(queue, limit=_BATCH)
            if not letters:
                break
            kept += await self._keep(letters)
        return kept

    async def _keep(self, letters: Sequence[DeadLetter]) -> int:
        """What could be parked is completed, whatever becomes of the others."""
        parked: set[int] = set()

        async def one(position: int, letter: DeadLetter) -> None:
            await self._park(letter.delivery, bin_of(letter), reason_of(letter))
            parked.add(position)

        try:
            await together([partial(one, *numbered) for numbered in enumerate(letters)], most=_AT_ONCE)
        finally:
            await self._queue.settle(
                [
                    Complete(letter.delivery) if position in parked else Release(letter.delivery)
                    for position, letter in enumerate(letters)
                ]
            )
        return len(parked)


def bin_of(letter: DeadLetter) -> Bin:
    return "expired" if letter.reason == TOO_OLD else "poison"


def reason_of(letter: DeadLetter) -> str:
    said = ": ".join(part for part in (letter.reason, letter.description) if part)
    return f"the broker put it aside ({said or 'it does not say why'})"
