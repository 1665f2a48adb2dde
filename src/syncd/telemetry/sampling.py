"""Which of many lines that are alike are written: the first, then one in a while with the number of those left out."""

from __future__ import annotations

from collections.abc import Callable

from syncd.telemetry.rows import Facts, Sampled

#: Kinds of line that are told apart at once. Beyond that those are forgotten whose time is up, and where that is none the newcomers
#: share one turn: values from outside must fill neither the memory nor the log.
MOST_KINDS = 1000
_SHARED = ("",)


class Sampling:
    """The lines of one event. `monotonic` is in seconds."""

    __slots__ = ("_by", "_every", "_kinds", "_monotonic")

    def __init__(self, sampled: Sampled, *, monotonic: Callable[[], float]) -> None:
        self._by = sampled.by
        self._every = sampled.every
        self._monotonic = monotonic
        self._kinds: dict[tuple[str, ...], tuple[float, int]] = {}
        """When each kind was last written, and how many like it were left out since; longest ago first."""

    def turn(self, facts: Facts) -> int | None:
        """None: leave this line out. Else write it; so many like it were left out since the one before."""
        kind = tuple([str(facts.get(name)) for name in self._by])
        now = self._monotonic()
        written = self._kinds.get(kind)
        if written is None and not self._room(now):
            kind = _SHARED
            written = self._kinds.get(kind)
        if written is not None and now - written[0] < self._every:
            self._kinds[kind] = (written[0], written[1] + 1)
            return None
        self._kinds.pop(kind, None)  # to the end of the order
        self._kinds[kind] = (now, 0)
        return 0 if written is None else written[1]

    def _room(self, now: float) -> bool:
        """For one more kind, if need be in the place of those that were written longest ago."""
        while len(self._kinds) >= MOST_KINDS:
            oldest = next(iter(self._kinds))
            if now - self._kinds[oldest][0] < self._every:
                return False
            del self._kinds[oldest]
        return True
