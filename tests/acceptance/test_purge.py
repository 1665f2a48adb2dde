"""A tenant is removed from the real daemon while events of it still wait, and kill -9 comes in between."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.acceptance.process import Daemon
from tests.acceptance.reading import events, parked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ISSUE = b'{"action":"opened","issue":{"id":%d,"number":%d,"title":"a canary"},"repository":{"id":7}}'


async def test_what_waited_of_a_purged_tenant_makes_nothing_and_its_neighbour_is_served(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "data", args=["--role", "webhooks"]) as daemon:
        mine = await daemon.register_github("reg-1", connection="conn-1", tenant="tenant-1")
        other = await daemon.register_github("reg-2", connection="conn-2", tenant="tenant-2")
        for number in range(30):
            for registration in (mine, other):
                delivery = f"{registration.id}-{number}"
                (await daemon.post_webhook(registration, ISSUE % (number, number), delivery=delivery)).ok()
        purging = asyncio.create_task(daemon.cli("tenants", "purge", "tenant-1", "--yes", "--output", "json"))
        await daemon.kill9()
        await purging  # it failed, or was done before: either way it is asked for again
        code, out, err = await daemon.cli("tenants", "purge", "tenant-1", "--yes", "--output", "json")
        assert code == 0, err
        assert "opened" in err, "no daemon runs: the command opened the store itself"
        purged = json.loads(out)
        assert (purged["done"], purged["queued"], purged["leased"]) == (True, 30, 0)

        daemon.args = ["--role", "webhooks,outbound"]
        await daemon.start()
        assert (await daemon.post_webhook(mine, ISSUE % (99, 99))).status == 404
        await daemon.drained("sync-outbound")
        assert len((await daemon.api("GET", "/entities/issue?tenantId=tenant-1")).ok()["items"]) == 0
        assert len((await daemon.api("GET", "/entities/issue?tenantId=tenant-2")).ok()["items"]) == 30
        assert await parked(daemon) == []
        assert {row["status"] for row in await events(daemon, "reg-2")} == {"processed"}
        counted = await daemon.api("POST", "/tenants/tenant-1/purge", {"dryRun": True})
        assert set(counted.ok()["counts"].values()) == {0}
        assert counted.json()["queued"] == 0

        # A tenant of the same id that is set up later is another one.
        again = await daemon.register_github("reg-1", connection="conn-1", tenant="tenant-1")
        assert again.id == "reg-1"
