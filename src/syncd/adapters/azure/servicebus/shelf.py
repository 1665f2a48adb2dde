"""What is leased and not handed out yet, lane by lane in the order in which it is due; and who gets what of it.

Lanes are offered 8:4:1 by smooth weighted round robin, as on every backend. Messages of full groups stay where they are.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from syncd.domain.groups import GroupCap, GroupRoom, full_groups
from syncd.domain.messages import LANES, Lane
from syncd.ports.queue import Delivery

_Place = tuple[float, int]
"""Due, sequence number."""


@dataclass(order=True, slots=True)
class _Item:
    place: _Place
    delivery: Delivery = field(compare=False)


class Shelf:
    def __init__(self) -> None:
        self._lanes: dict[Lane, list[_Item]] = {lane: [] for lane in LANES}
        self._credit: dict[Lane, int] = dict.fromkeys(LANES, 0)

    def __len__(self) -> int:
        return sum(len(items) for items in self._lanes.values())

    def put(self, lane: Lane, delivery: Delivery, *, due: float, sequence: int) -> None:
        insort(self._lanes[lane], _Item((due, sequence), delivery))

    def drop_lost(self) -> None:
        """Forget what is no longer ours: the broker hands it out again."""
        for lane, items in self._lanes.items():
            if any(item.delivery.lease.lost for item in items):
                self._lanes[lane] = [item for item in items if not item.delivery.lease.lost]

    def waiting(self, full: Collection[str]) -> Mapping[Lane, int]:
        """How many of each lane are of groups that have room."""
        return {lane: sum(_free(item, full) for item in items) for lane, items in self._lanes.items()}

    def pick(self, count: int, cap: GroupCap | None) -> list[Delivery]:
        """Up to `count`, each lane's share, then whatever is left to fill; of no group more than fit."""
        full = full_groups(cap)
        room = GroupRoom(cap)
        found = {lane: free for lane, items in self._lanes.items() if (free := [i for i in items if _free(i, full)])}
        for lane in self._lanes:
            if lane not in found:
                self._credit[lane] = 0
        chosen: list[_Item] = []
        whole = sum(LANES[lane] for lane in found)
        while len(chosen) < count and any(found.values()):
            # A lane of which no more lies here goes on gathering credit: the broker may have more of it.
            for lane in found:
                self._credit[lane] += LANES[lane]
            best = max((lane for lane in found if found[lane]), key=lambda lane: self._credit[lane])
            self._credit[best] -= whole
            item = found[best].pop(0)
            if room.take(item.delivery.envelope.group):
                chosen.append(item)
        taken = {id(item) for item in chosen}
        for lane in found:
            self._lanes[lane] = [item for item in self._lanes[lane] if id(item) not in taken]
        return [item.delivery for item in chosen]

    def sequences(self, lane: Lane) -> set[int]:
        return {item.place[1] for item in self._lanes[lane]}

    def clear(self) -> list[Delivery]:
        everything = [item.delivery for items in self._lanes.values() for item in items]
        for items in self._lanes.values():
            items.clear()
        return everything


def _free(item: _Item, full: Collection[str]) -> bool:
    return item.delivery.envelope.group not in full and not item.delivery.lease.lost
