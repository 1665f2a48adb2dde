"""Providers that asked not to be called for a while, because a whole quota is spent.

A refusal tells one unit when to come back; the others would each find out by asking, and who goes on asking while limited may be
shut out. https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#handle-rate-limit-errors-appropriately
"""

from __future__ import annotations

from collections.abc import Hashable

#: Pauses remembered. One that is forgotten costs a request that is refused.
MOST_PAUSES = 10_000


class Pauses:
    """Per process, in monotonic seconds: another replica hears it from the provider itself."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def begin(self, key: Hashable, now: float, seconds: float) -> None:
        """The last word counts, also where it is a shorter wait."""
        self._until.pop(key, None)
        self._until[key] = now + seconds
        if len(self._until) > MOST_PAUSES:
            del self._until[next(iter(self._until))]

    def left(self, key: Hashable, now: float) -> float:
        """Seconds; 0 where nothing is asked."""
        until = self._until.get(key)
        if until is None:
            return 0.0
        if until <= now:
            del self._until[key]
            return 0.0
        return until - now
