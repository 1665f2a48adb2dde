"""Pulls from systems that lie: each lie has a clear result, what is no record is kept aside, and nothing goes missing in the counts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import DAY
from tests.doubles.contract import START
from tests.integration.syncing.lying import cursor, liar, pages, pulled, thing
from tests.integration.syncing.world import World, at_start, opened


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, at_start()) as world:
        yield world


# -- records that are none --


async def test_what_is_no_record_is_kept_aside_with_its_reason_and_the_rest_is_stored(world: World) -> None:
    lies = [
        5,
        None,
        [],
        "x",
        {"name": "no id"},
        {"id": None},
        {"id": {}},
        {"id": 1.5},
        thing(9, "yesterday"),
        thing(8, {}),
    ]
    async with liar(world, pages([thing(1), *lies[:5]], [*lies[5:], thing(2)])):
        counts, result = await pulled(world)
    assert counts == {"fetched": 12, "created": 2, "failed": 10}
    assert result["status"] == "partial"
    failures = result["failures"]
    assert [(one["page"], one["position"]) for one in failures] == [(0, n) for n in range(1, 6)] + [
        (1, n) for n in range(5)
    ]
    assert all(one["reason"] and one["raw"] for one in failures)
    assert {one["reason"].partition(" ")[0] for one in failures} == {"it", "id", "at:"}
    assert (await cursor(world))["watermark"] == "2023-11-14T22:13:20.000Z"


async def test_one_id_many_times_in_and_across_pages_is_one_entity_with_the_latest_content(world: World) -> None:
    first = [thing(1, "2023-11-14T10:00:00Z"), thing(1, "2023-11-14T12:00:00Z", name="new"), thing("1", name="as text")]
    second = [thing(1, "2023-11-14T11:00:00Z", name="old"), thing(2), thing(1, "2023-11-14T12:00:00Z", name="new")]
    async with liar(world, pages(first[:2], second, first[:2])):
        counts, _ = await pulled(world)
    assert counts == {"fetched": 7, "created": 2, "unchanged": 2, "duplicates": 3}
    found = {one.data["externalIds"]["crm"]: one.data["data"]["name"] for one in await world.entities()}
    assert found == {"1": "new", "2": "Thing 2"}


async def test_names_and_values_in_any_script_are_stored_as_they_are(world: World) -> None:
    odd = {
        "ключ": "значение",
        "名前": ["値"],
        "é": "e\u0301",
        "\U0001f600": {"": 0},
        "a.b": 1,
        "__proto__": None,
        "\u202e": "rtl",
    }
    async with liar(world, pages([thing("Ü–1/2 ?#%", **odd)])):
        assert (await pulled(world))[0] == {"fetched": 1, "created": 1}
        assert (await pulled(world, full=True))[0] == {"fetched": 1, "unchanged": 1}
    [entity] = await world.entities()
    assert {name: entity.data["data"][name] for name in odd} == odd


async def test_a_record_of_ten_megabytes_is_kept_aside_and_its_page_goes_on(world: World) -> None:
    async with liar(world, pages([thing(1), thing(2, text="x" * 10_000_000), thing(3)])):
        counts, result = await pulled(world)
    assert counts == {"fetched": 3, "created": 2, "failed": 1}
    [failure] = result["failures"]
    assert failure["externalId"] == "2"
    assert "bytes" in failure["reason"]
    assert len(json.dumps(result)) < 100_000


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("2023-11-14T22:00:00Z", "2023-11-14T22:00:00.000Z"),
        ("2023-11-14T22:00:00.123456+02:00", "2023-11-14T20:00:00.123Z"),
        ("2023-11-14 22:00:00", "2023-11-14T22:00:00.000Z"),
        ("2023-11-14", "2023-11-14T00:00:00.000Z"),
        ("20231114T220000Z", "2023-11-14T22:00:00.000Z"),
        ("Tue, 14 Nov 2023 17:00:00 -0500", "2023-11-14T22:00:00.000Z"),
        (1_699_999_200, "2023-11-14T22:00:00.000Z"),
        (1_699_999_200_000, "2023-11-14T22:00:00.000Z"),
        ("1699999200", "2023-11-14T22:00:00.000Z"),
        ("/Date(1699999200000)/", "2023-11-14T22:00:00.000Z"),
    ],
)
async def test_times_are_read_in_every_form_and_zone(world: World, said: Any, read: str) -> None:
    async with liar(world, pages([thing(1, said)])):
        counts, result = await pulled(world)
        assert counts == {"fetched": 1, "created": 1}, result
    [entity] = await world.entities()
    assert entity.data["changedAt"] == read


@pytest.mark.parametrize("said", ["", None])
async def test_an_object_that_says_no_time_is_stored_and_stays_unchanged(world: World, said: Any) -> None:
    async with liar(world, pages([thing(1, said)])):
        assert (await pulled(world))[0] == {"fetched": 1, "created": 1}
        await world.clock.advance(100)
        assert (await pulled(world, full=True))[0] == {"fetched": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("said", "expected"),
    [("9999-12-31T23:59:59Z", {"fetched": 1, "updated": 1}), (99_999_999_999, {"fetched": 1, "updated": 1})],
)
async def test_a_time_in_the_far_future_freezes_neither_the_entity_nor_the_pull(
    world: World, said: Any, expected: JsonObject
) -> None:
    served = [thing(1, said)]
    async with liar(world, pages(served)) as system:
        await pulled(world)
        assert (await cursor(world))["watermark"] == "2023-11-14T22:13:20.000Z"
        await world.clock.advance(2 * DAY)
        system.date = world.clock.now()
        served[0] = thing(1, "2023-11-16T21:00:00Z", name="corrected")
        counts, result = await pulled(world)
        assert counts == expected, result
    assert [one.data["data"]["name"] for one in await world.entities()] == ["corrected"]


# -- the provider's clock --


async def test_a_provider_without_a_date_is_read_on_from_the_latest_change_that_it_showed(world: World) -> None:
    served = [thing(1, "2023-11-14T22:00:00Z"), thing(2, "2023-11-14T21:00:00Z"), thing(3, "2099-01-01T00:00:00Z")]
    async with liar(world, pages(served)) as system:
        system.date = None
        await pulled(world)
        assert (await cursor(world))["watermark"] == "2023-11-14T22:00:00.000Z"
        await world.clock.advance(3600)
        await pulled(world)
        assert "since=2023-11-14T21:59:00Z" in unquote(system.asked[-1])


async def test_without_any_time_at_all_everything_is_read_again(world: World) -> None:
    async with liar(world, pages([thing(1, None)])) as system:
        system.date = None
        await pulled(world)
        await world.clock.advance(3600)
        assert (await pulled(world))[0] == {"fetched": 1, "unchanged": 1}
        assert "since" not in system.asked[-1]


@pytest.mark.parametrize("off", [3 * DAY, 2 * 3600.0, -3 * DAY])
async def test_a_date_that_is_wrong_hides_no_change(world: World, off: float) -> None:
    """Its objects' times are right, and it heeds `since`."""
    held = [thing(1, "2023-11-14T22:00:00Z")]

    def serve(request: web.Request) -> web.Response:
        return web.json_response(
            {"data": [one for one in held if one["at"] >= request.query.get("since", "")], "next": None}
        )

    async with liar(world, serve) as system:
        system.date = START + off
        await pulled(world)
        await world.clock.advance(600)
        system.date = world.clock.now() + off
        held.append(thing(2, "2023-11-14T22:20:00Z"))
        counts, _ = await pulled(world)
    assert counts["created"] == 1
    assert len(await world.entities()) == 2
