"""A reload that fails before there is anything to reload to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from syncd.bootstrap.control import Control
from syncd.domain.errors import Unavailable
from syncd.runtime.health import HealthBoard
from syncd.runtime.loopwatch import LoopWatch
from syncd.runtime.supervision import Supervisor
from syncd.testing.clock import FrozenClock

if TYPE_CHECKING:
    from syncd.bootstrap.generation import Generation, Surroundings
    from syncd.bootstrap.ports import Ports
    from syncd.runtime.ticker import Ticker
    from syncd.telemetry.log import Logs
    from syncd.telemetry.observe import Telemetry


class Away:
    async def get(self, *_: object) -> None:
        raise Unavailable("the store is away")


async def test_a_reload_during_an_outage_of_the_store_is_told_like_one_that_is_refused() -> None:
    told: list[str] = []

    def observe(event: str, /, **_: object) -> None:
        told.append(event)

    clock = FrozenClock()
    supervisor = Supervisor(clock=clock, observe=observe)
    board = HealthBoard(version="1", roles=(), supervisor=supervisor, loop=LoopWatch(clock=clock, observe=observe))
    control = Control(
        board=board,
        ports=cast("Ports", SimpleNamespace(documents=Away(), clock=clock)),
        telemetry=cast("Telemetry", SimpleNamespace(observe=observe)),
        logs=cast("Logs", None),
        ticker=cast("Ticker", None),
        around=cast("Surroundings", SimpleNamespace()),
        generation=cast("Generation", SimpleNamespace(number=7)),
    )
    with pytest.raises(Unavailable):
        await control.reload()
    assert told == ["reload_failed"]
    assert control.health().last_reload_error == "the store is away"
    assert control.current.number == 7, "what is in force goes on"
