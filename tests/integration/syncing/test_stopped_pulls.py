"""A pull that is stopped between its pages: what it has stored is counted, and it goes on from there (architecture, decision 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.domain.collections import CURSORS
from syncd.domain.jsontypes import JsonObject
from syncd.domain.outcomes import DONE, Continue
from syncd.settings import Settings
from tests.integration.syncing.systems import telling
from tests.integration.syncing.world import World, at_start, opened

CONTACTS = 60


async def cursor(world: World) -> JsonObject:
    found = await world.ports.documents.get(CURSORS, "crm", "contact")
    assert found is not None
    return found.data


def single_records(settings: Settings) -> Settings:
    return settings.model_copy(update={"sync": settings.sync.model_copy(update={"page_size": 1})})


@pytest.mark.parametrize("manner", ["page", "offset", "link"])
async def test_a_pull_that_goes_on_under_another_page_size_reads_every_record(tmp_path: Path, manner: str) -> None:
    clock = at_start()
    double = telling(manner, clock)
    async with double.serving():
        for number in range(CONTACTS):
            double.put("contact", number)
        async with opened(tmp_path, clock, adjust=single_records) as world:
            await world.connect("crm", double, "pull")
            task = await world.task("crm")
            await world.plan.queue_due()
            [delivery] = await world.lease()
            assert await world.flows.sync.handle(delivery.envelope, delivery.body, lambda: True) == Continue()
        async with opened(tmp_path, clock) as world:
            assert await world.flows.sync.handle(delivery.envelope, delivery.body, lambda: False) == DONE
            assert await world.counts(task) == {"fetched": CONTACTS, "created": CONTACTS}
            assert len(await world.entities()) == CONTACTS


@pytest.mark.parametrize("manner", ["page", "link"])
async def test_each_slice_counts_what_it_has_stored(tmp_path: Path, manner: str) -> None:
    clock = at_start()
    double = telling(manner, clock)
    async with double.serving(), opened(tmp_path, clock, adjust=single_records) as world:
        for number in range(CONTACTS):
            double.put("contact", number)
        await world.connect("crm", double, "pull")
        task = await world.task("crm")
        await world.plan.queue_due()
        [delivery] = await world.lease()
        slices = 0
        while await world.flows.sync.handle(delivery.envelope, delivery.body, lambda: True) == Continue():
            slices += 1
            run = (await cursor(world))["run"]
            assert run["counts"]["created"] == len(await world.entities()) == run["page"]
            assert "lease" not in await cursor(world)
        assert slices > 1
        assert await world.counts(task) == {"fetched": CONTACTS, "created": CONTACTS}
        fetched = [one for one in double.log if one.method == "GET"]
        assert len(fetched) < CONTACTS + 3 * (slices + 1), "pages that came are not asked for again"
        assert await world.flows.sync.handle(delivery.envelope, delivery.body, lambda: True) == DONE
