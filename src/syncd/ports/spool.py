"""The spool: messages that wait on the local disk for a queue that is away, in the order in which they came."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from syncd.ports.queue import Message


@dataclass(frozen=True, slots=True)
class Spooled:
    position: int
    """Later ones are greater; never used twice."""
    tail: str
    message: Message


class Spool(Protocol):
    """A bounded log on a disk that outlives the process. One process owns it.

    Messages are of any size, body included. Every method may raise Overloaded (the bound is reached, or the disk full),
    Unavailable (a failing disk) or StoreUnusable.
    """

    @property
    def messages(self) -> int:
        """How many there are, those set aside included."""
        ...

    @property
    def bytes(self) -> int:
        """What they take of `max_bytes`."""
        ...

    @property
    def max_bytes(self) -> int: ...

    @property
    def aside(self) -> int: ...

    async def tails(self) -> dict[str, int]:
        """How many wait in each tail, those set aside left out."""
        ...

    async def append(self, tail: str, message: Message) -> bool:
        """Durable when it returns. False where a message with the same dedupe id is here since less than its dedupe window:
        nothing was written. Not to be cancelled: it would not be known whether it is there."""
        ...

    async def read(
        self, *, without: Collection[str] = (), limit: int = 100, at_most: int = 4 * 1024 * 1024
    ) -> list[Spooled]:
        """The oldest that are not set aside and in no tail of `without`: the first, and more while all their bytes together stay
        within `at_most`."""
        ...

    async def remove(self, positions: Collection[int]) -> None:
        """Durable when it returns. What is not there any more is no fault."""
        ...

    async def set_aside(self, positions: Collection[int]) -> None:
        """Keep, but hand out again only after the next start."""
        ...
