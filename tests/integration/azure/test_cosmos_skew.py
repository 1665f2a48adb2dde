"""What the dates of answers prove of our clock, and that ticks are left to others while it is off (G3)."""

from __future__ import annotations

import pytest

from syncd.adapters.azure.cosmos.skew import Skew
from syncd.domain.collections import ENTITIES
from syncd.flows.claims import MOST_SKEW
from syncd.ports.documents import Query
from syncd.testing.clock import FrozenClock
from tests.integration.azure.cosmos_world import P, account, opened

DATED, DATE = 1_700_000_000.0, "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("asked", "read", "proved"),
    [
        (0.0, 0.9, 0.0),
        (0.9, 1.1, 0.0),  # dates have no fractions
        (-0.5, 30.0, 0.0),  # a slow answer accuses nobody
        (11.0, 11.2, 10.0),
        (-10.2, -10.0, -10.0),
        (601.0, 609.0, 600.0),  # a slow one proves less, and enough
    ],
)
def test_an_answer_proves_what_its_date_allows_and_no_more(asked: float, read: float, proved: float) -> None:
    skew = Skew()
    skew.answered({"Date": DATE}, asked=DATED + asked, read=DATED + read)
    assert skew.seconds == pytest.approx(proved)


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}, {"Date": "0"}])
def test_a_date_that_cannot_be_read_says_nothing(headers: dict[str, str]) -> None:
    skew = Skew()
    skew.answered({"Date": DATE}, asked=DATED + 11, read=DATED + 11)
    skew.answered(headers, asked=DATED, read=DATED)
    assert skew.seconds == 10.0


@pytest.mark.parametrize("off", [-120.0, 120.0])
async def test_a_clock_that_is_minutes_off_is_seen_by_any_request_and_forgotten_once_it_is_right(off: float) -> None:
    theirs, ours = FrozenClock(), FrozenClock(1_700_000_000.0 + off)
    async with account(theirs) as service, opened(service, ours) as documents:
        assert documents.skew == 0.0, "nobody has said what time it is"
        await documents.get(ENTITIES, P, "nobody")
        assert abs(documents.skew) > MOST_SKEW
        assert documents.skew == pytest.approx(off, abs=1.0)
        mended = theirs if off > 0 else ours
        await mended.advance(abs(off))
        await documents.query(ENTITIES, Query(partition=P))
        assert documents.skew == 0.0
