"""The log that proves or disproves: what was admitted under each key, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from syncd.ports.limiter import Level


@dataclass
class Admissions:
    log: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def add(self, at: float, levels: Iterable[Level], cost: int = 1) -> None:
        for key in {level.key for level in levels}:
            self.log.setdefault(key, []).append((at, cost))

    def total(self, level: Level) -> int:
        return sum(units for _, units in self.log.get(level.key, []))

    def within(self, level: Level, now: float) -> int:
        """Units in (now - window, now]."""
        return sum(units for at, units in self.log.get(level.key, []) if now - level.window < at <= now)

    def most(self, level: Level) -> int:
        """The most units in any half-open window; it is enough to look at those that end with an admission."""
        log = sorted(self.log.get(level.key, []))
        worst = units = oldest = 0
        for end, cost in log:
            units += cost
            while log[oldest][0] <= end - level.window:
                units -= log[oldest][1]
                oldest += 1
            worst = max(worst, units)
        return worst
