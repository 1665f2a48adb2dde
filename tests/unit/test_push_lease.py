"""A push lease outlives its call twice over, however long calls may take."""

from __future__ import annotations

import pytest

from syncd.domain.jsontypes import JsonObject
from syncd.domain.pushing import LEASE, Sending, begin, lease_for, lease_until
from syncd.settings import Settings

NOW = 1_700_000_000.0


def test_the_default_is_that_of_the_default_timeout() -> None:
    assert lease_for(Settings().http.outgoing_timeout) == LEASE == 70.0


@pytest.mark.parametrize("timeout", [0.1, 3.0, 30.0, 3600.0])
def test_it_holds_two_calls_and_ends_at_a_known_time(timeout: float) -> None:
    entity: JsonObject = {"version": 1, "data": {}, "links": {}, "externalIds": {}, "deleted": False}
    wanted = Sending(operation="create", version=1, external_id=None, changes={}, whole={}, tag=None)
    taken = begin(entity, "t:contact.1", "mail", wanted, "replica/one", NOW, lease=lease_for(timeout))
    until = lease_until(taken, "mail")
    assert until is not None
    assert until - NOW == pytest.approx(2 * timeout + 10.0, abs=0.001)
    assert until - NOW > 2 * timeout
