"""What operators are shown of a queue that its backend did not count to the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import pytest

from syncd.cli.queues import _counted
from syncd.domain.jsontypes import JsonObject
from syncd.domain.principal import Principal
from syncd.flows.operate.queues import QueuesFlow
from syncd.ports.queue import Depth
from syncd.testing.clock import FrozenClock

if TYPE_CHECKING:
    from syncd.flows.operate.audit import AuditTrail
    from syncd.flows.parked import Parked
    from syncd.ports.queue import Queue

ROW: JsonObject = {"name": "q", "ready": 1000, "leased": 3, "scheduled": 0, "dead": 2}


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (ROW, ROW),
        ({**ROW, "atLeast": True}, {**ROW, "atLeast": True, "ready": "1000+", "scheduled": "0+"}),
        ({**ROW, "atLeast": True, "ready": None}, {**ROW, "atLeast": True, "ready": None, "scheduled": "0+"}),
    ],
)
def test_a_figure_that_may_be_more_has_a_plus_in_the_table(row: JsonObject, shown: JsonObject) -> None:
    assert _counted(row) == shown


class Queues:
    """One that is deeper than its backend counts, and one that is not."""

    async def depth(self, queue: str, *, at_most: int = 100_000) -> Depth:
        return Depth(1000, 3, 0, 1.5, at_least=True) if queue == "deep" else Depth(1, 0, 0, 1.5)


class Nothing:
    async def counts(self, queues: Iterable[str]) -> dict[str, int]:
        return dict.fromkeys(queues, 0)


async def test_an_answer_says_where_there_may_be_more() -> None:
    flow = QueuesFlow(
        queue=cast("Queue", Queues()),
        parked=cast("Parked", Nothing()),
        clock=FrozenClock(),
        audit=cast("AuditTrail", None),  # looking is not written down
        names=("deep", "shallow"),
    )
    deep, shallow = await flow.list(Principal(name="somebody"))
    assert (deep["ready"], deep["atLeast"]) == (1000, True)
    assert "atLeast" not in shallow
