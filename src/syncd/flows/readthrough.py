"""A bounded read-through cache: one loader an id, unknown ids kept apart, nothing stored that a write has overtaken."""

from __future__ import annotations

from typing import Generic, TypeVar

import anyio

Value = TypeVar("Value")
#: Entries of each half. A webhook registration in use takes about 2 KB.
CACHED = 10_000


class ReadThrough(Generic[Value]):
    """`ttl` in seconds. Times given to the methods are monotonic."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._found: dict[str, tuple[float, Value]] = {}
        # Apart, so that guessing ids cannot push known ones out.
        self._missing: dict[str, float] = {}
        self._loading: dict[str, anyio.Event] = {}
        self.changes = 0
        """Local writes so far: what was read before one is not stored after it."""

    def get(self, identifier: str, now: float) -> Value | None:
        entry = self._found.get(identifier)
        return entry[1] if entry is not None and entry[0] > now else None

    def missing(self, identifier: str, now: float) -> bool:
        return self._missing.get(identifier, now) > now

    async def alone(self, identifier: str) -> bool:
        """True: load it, then `put` or `release`. False: somebody else has just done so."""
        loading = self._loading.get(identifier)
        if loading is None:
            self._loading[identifier] = anyio.Event()
            return True
        await loading.wait()
        return False

    def release(self, identifier: str) -> None:
        loading = self._loading.pop(identifier, None)
        if loading is not None:
            loading.set()

    def put(self, identifier: str, found: Value | None, valid_for: float, marker: int, now: float) -> None:
        if marker == self.changes:
            until = now + min(self._ttl, valid_for)
            self._found.pop(identifier, None)
            self._missing.pop(identifier, None)
            if found is None:
                self._missing[identifier] = until
                if len(self._missing) > CACHED:
                    del self._missing[next(iter(self._missing))]
            else:
                self._found[identifier] = (until, found)
                if len(self._found) > CACHED:
                    del self._found[next(iter(self._found))]  # the one loaded longest ago
        self.release(identifier)

    def drop(self, identifier: str) -> None:
        self.changes += 1
        self._found.pop(identifier, None)
        self._missing.pop(identifier, None)
