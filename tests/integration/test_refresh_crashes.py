"""A rotating refresh token survives the end of the process at every port call (guarantees, G5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from syncd.domain.errors import InvalidGrant
from syncd.flows.tokens import CALL_TIMEOUT, LEASE
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.refreshing import Endpoint, opened, shown


def made_in(root: Path) -> Iterator[Path]:
    """One directory after the other, made before the loop runs into them."""
    paths = [root / str(number) for number in range(100)]
    for path in paths:
        path.mkdir()
    return iter(paths)


@pytest.mark.parametrize("forgiving", [False, True])
async def test_at_every_crash_point_the_next_process_has_a_token(
    tmp_path: Path, forgiving: bool, backend: Backend
) -> None:
    directories = made_in(tmp_path)
    lost = 0

    async def scenario(crash: CrashAt) -> None:
        nonlocal lost
        directory, clock, endpoint = next(directories), FrozenClock(), Endpoint(forgiving=forgiving)
        async with opened(directory, clock, endpoint, backend=backend) as world:
            identifier = await world.add(ends_in=-1)
        async with opened(directory, clock, endpoint, crash, backend=backend) as world:
            with suppress(Crash):
                assert await shown(world.process("first/boot"), identifier) == "a2"
        # One and the same moment: the answer is here, and nowhere else.
        answer_lost = (crash.last, crash.when) in {("caller.call", "after"), ("vault.append", "before")}
        await clock.advance(CALL_TIMEOUT + LEASE)
        async with opened(directory, clock, endpoint, backend=backend) as world:
            if answer_lost and not forgiving:
                # The limit of the promise: nobody but the dead process ever had the new token.
                with pytest.raises(InvalidGrant, match="interrupted before its answer was stored"):
                    await shown(world.process("second/boot"), identifier)
                lost += 1
                return
            assert await shown(world.process("second/boot"), identifier) == f"a{endpoint.issued}"
            document = await world.document(identifier)
            assert document["status"] == "ok"
            assert "refresh" not in document
            assert endpoint.calls == (2 if answer_lost else 1), "what was stored is taken up, not asked for again"

    exhaustive = await backend.at_port_calls(scenario, more_than=11)
    assert bool(lost) == (not forgiving) or not exhaustive
