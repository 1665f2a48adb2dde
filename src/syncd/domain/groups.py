"""How many messages of one group (a tenant's connection) are worked on at once, so that one customer cannot hold a whole queue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class GroupCap:
    """At most so many messages of one group, with those that are taken already. Messages without a group have no cap."""

    most: int
    taken: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def full(self) -> frozenset[str]:
        return frozenset(group for group, count in self.taken.items() if count >= self.most)


def full_groups(cap: GroupCap | None) -> frozenset[str]:
    """Those that have no room at all; without a cap none."""
    return frozenset() if cap is None else cap.full


class GroupRoom:
    """What a cap leaves while messages are chosen one by one."""

    def __init__(self, cap: GroupCap | None) -> None:
        """Without a cap everything fits."""
        self._most = cap.most if cap is not None else None
        self._taken = Counter(cap.taken) if cap is not None else Counter[str]()

    def take(self, group: str | None) -> bool:
        """Whether one more of the group fits, which then counts."""
        if self._most is None or not group:
            return True
        if self._taken[group] >= self._most:
            return False
        self._taken[group] += 1
        return True
