"""G9: whatever is edited where, and however late, often and disordered it is told, all sides agree in the end, after few writes.

`make soak` runs many more of them (SIMULATIONS=..., SIMULATION_SEED=the first one's).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.syncing.simulation import simulate

RULES = ("last_write_wins", "source_wins", "local_wins", "merge_fields")
#: Systems that know a key or a marker again, and refuse to write over what they were not asked about; and such as do neither.
PAIRS = (("page", "offset"), ("cursor", "link"), ("offset", "cursor"), ("page", "link"))
_COUNT = int(os.environ.get("SIMULATIONS", "2"))
_FIRST = int(os.environ.get("SIMULATION_SEED", "1"))


@pytest.fixture
def places(tmp_path: Path) -> list[tuple[int, Path]]:
    """A seed and a directory for each."""
    found = [(_FIRST + number, tmp_path / str(number)) for number in range(_COUNT)]
    for _, path in found:
        path.mkdir()
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("manners", PAIRS, ids="-".join)
async def test_both_systems_and_the_entities_agree_after_a_bounded_number_of_writes(
    places: list[tuple[int, Path]], manners: tuple[str, str], rule: str
) -> None:
    """A change is written to each side that did not make it, at most: to both systems where it is ours or where both are owed what a
    conflict made of two changes."""
    for seed, path in places:
        # What a system without keys did with a create whose answer is lost only a person can find out.
        faults = manners == ("page", "offset") and bool(seed % 2)
        ended = await simulate(path, seed=seed, manners=manners, rule=rule, steps=80, faults=faults, bound=2.0)
        assert ended.changes > 5, seed
