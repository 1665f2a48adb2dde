"""A queue that is another machine: the embedded one, behind a line that a test cuts, slows down and mends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from syncd.domain.errors import Invalid, SyncdError, TimedOut, Unavailable
from syncd.ports.queue import Message, Queue, QueueCapabilities, Sent

Mode = Literal["well", "refuses", "hangs", "loses_answers", "times_out"]


@dataclass
class Line:
    """How sends fare. It outlives worlds, as a broker outlives its clients."""

    mode: Mode = "well"
    asked: int = 0
    taken: list[str] = field(default_factory=list)
    """Origins in the order in which the broker took them, repeated ones too."""
    batches: list[int] = field(default_factory=list)
    too_large: set[str] = field(default_factory=set)
    """Origins that the broker refuses for what they are."""
    dedupes: bool = True
    """Duplicate detection. Brokers that have it tell nobody what they absorbed."""


class Broker:
    """A Queue. Only `send` goes over the line: what is tried here is the way in."""

    capabilities = QueueCapabilities(exact_depth=True, dedupe_window=False, priority_lanes=True)

    def __init__(self, queue: Queue, line: Line) -> None:
        self._queue = queue
        self._line = line

    async def send(self, queue: str, messages: Sequence[Message]) -> list[Sent]:
        line = self._line
        line.asked += 1
        if line.mode == "hangs":
            await asyncio.Event().wait()
        failed: dict[str, SyncdError] = {
            "refuses": Unavailable("the broker refuses the connection"),
            "times_out": TimedOut("the broker gave no answer"),
        }
        if line.mode in failed:
            raise failed[line.mode]
        if any(message.envelope.origin_id in line.too_large for message in messages):
            raise Invalid("the message is larger than the broker takes")
        kept = messages if line.dedupes else [replace(one, dedupe_id=None, dedupe_window=0.0) for one in messages]
        await self._queue.send(queue, kept)
        line.taken += [message.envelope.origin_id for message in messages]
        line.batches.append(len(messages))
        if line.mode == "loses_answers":
            await asyncio.Event().wait()
        return [Sent() for _ in messages]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)
