from __future__ import annotations

import pytest

from tests.integration.cli.kit import Syncd
from tests.integration.http.test_conflicts import recorded
from tests.integration.http.world import World


async def test_a_person_lists_shows_and_decides(world: World, syncd: Syncd) -> None:
    one = await recorded(world)
    listed = await syncd("conflicts", "list", "--status", "open")
    assert (listed.code, one in listed.out, "a open, b open" in listed.out) == (0, True, True)
    assert "none" in (await syncd("conflicts", "list", "--tenant", "t", "--status", "resolved")).err
    shown = await syncd("conflicts", "show", one)
    [row] = [line for line in shown.out.splitlines() if line.startswith((" b ", "b "))]
    assert row.split() == ["b", "manual", "open", "was", "ours", "(absent)", "ours"]
    assert (await syncd("conflicts", "show", one, "--output", "json")).json["id"] == one
    done = await syncd(
        "conflicts", "resolve", one, "--take", "theirs", "--take", "a=ours", "--value", "c=null", "--remove", "d", "--output", "json"
    )  # fmt: skip
    assert (done.code, done.json["status"]) == (0, "resolved")
    assert [(one["taken"], one.get("result", "absent")) for one in done.json["fields"]] == [
        ("ours", "ours"),
        ("theirs", "absent"),
        ("value", None),
        ("value", "absent"),
    ]
    again = await syncd("conflicts", "resolve", one, "--take", "theirs")
    assert again.code == 1
    assert "was resolved at" in again.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "say what"),
        (("--take", "both"), "is not ours, theirs"),
        (("--take", "a=mine"), "is not ours, theirs"),
        (("--take", "a=ours", "--remove", "a"), "more than one decision for a"),
    ],
)
async def test_a_decision_that_says_nothing_or_two_things_is_refused_before_anything_is_sent(
    world: World, syncd: Syncd, options: tuple[str, ...], words: str
) -> None:
    refused = await syncd("conflicts", "resolve", "t.any", *options)
    assert refused.code == 2
    assert words in refused.err
