"""What a test lets go wrong: the next answers refused, connections cut before or after the work, answers held back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Fault:
    times: float
    """How often; math.inf until `Faults.clear`."""
    on: frozenset[str]
    """Names of operations, empty for all."""
    status: int = 0
    substatus: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    """`before`: the connection is cut and nothing is done; `after`: it is done, and the answer is lost."""
    index: int | None = None
    """This operation of a batch is refused, and with it the batch."""


class Faults:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        """Requests that are held back now."""
        self.arrived = asyncio.Condition()

    def fail(
        self,
        times: float,
        status: int,
        *,
        on: str = "",
        substatus: int | None = None,
        retry_after_ms: int | None = None,
        index: int | None = None,
    ) -> None:
        """Refuse the next `times` requests (of the operations `on`, by blanks) without doing anything."""
        headers = {} if retry_after_ms is None else {"x-ms-retry-after-ms": str(retry_after_ms)}
        self._faults.append(Fault(times, frozenset(on.split()), status, substatus, headers, index=index))

    def drop(self, times: float, *, on: str = "", after: bool = False) -> None:
        self._faults.append(Fault(times, frozenset(on.split()), cut="after" if after else "before"))

    def hold(self) -> None:
        """From now on nothing is answered, as by a half-open connection, until `release`."""
        self.open.clear()

    def release(self) -> None:
        self.open.set()

    async def held(self, count: int = 1) -> None:
        """Until so many requests are held back."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.waiting >= count)

    async def passing(self) -> None:
        if self.open.is_set():
            return
        self.waiting += 1
        async with self.arrived:
            self.arrived.notify_all()
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1

    def next(self, operation: str) -> Fault | None:
        for fault in self._faults:
            if not fault.on or operation in fault.on:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        self._faults.clear()
        self.release()
