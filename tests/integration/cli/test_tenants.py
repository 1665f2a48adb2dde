"""`syncd tenants purge`: counted, asked for, done to the end."""

from __future__ import annotations

from syncd.http.services import Operate
from syncd.ports.queue import Complete, Release
from tests.integration.cli.kit import Syncd, parked
from tests.integration.http.test_webhooks import change, send
from tests.integration.http.world import World


async def test_a_tenant_is_counted_asked_about_and_removed(world: World, syncd: Syncd) -> None:
    await parked(world, 3)
    counted = await syncd("tenants", "purge", "tenant-1", "--dry-run", "--output", "json")
    assert (counted.code, counted.json["counts"]["parked"], counted.json["counts"]["events"]) == (0, 3, 3)
    refused = await syncd("tenants", "purge", "tenant-1")
    assert refused.code == 2
    assert "remove 9 documents and secrets of the tenant tenant-1 for ever needs --yes" in refused.err
    assert (await syncd("connections", "list")).out != ""
    purged = await syncd("tenants", "purge", "tenant-1", "--yes")
    assert purged.code == 0
    assert purged.out.split()[:2] == ["what", "removed"]
    assert ["parked", "3"] in [line.split() for line in purged.out.splitlines()]
    again = await syncd("tenants", "purge", "tenant-1", "--yes")
    assert (again.code, again.out) == (0, "")
    assert "nothing of tenant-1 is stored" in again.err


async def test_it_asks_again_until_it_is_done_and_says_what_still_waits(world: World, syncd: Syncd) -> None:
    await parked(world, 3)
    for number in range(2):
        await send(world, change(number, operation="odd", eventType="again"))
    [held, other] = await world.store.queue.lease("sync-outbound", 2, duration=60.0)
    operate, calls = world.services.operate, 0

    class Counting:
        """Ends the work on one message once everything else is gone, as a worker would meanwhile."""

        async def purge(self, *args: object, **kwargs: bool) -> object:
            nonlocal calls
            calls += 1
            answer = await operate.tenants.purge(*args, **kwargs)  # type: ignore[arg-type] # passed through as they came
            if not kwargs["dry_run"] and answer["leased"] == 2:
                await world.store.queue.settle([Complete(held), Release(other)])
            return answer

    fields = {name: getattr(operate, name) for name in Operate.__slots__}
    world.change(operate=Operate(**{**fields, "tenants": Counting()}))
    purged = await syncd("tenants", "purge", "tenant-1", "--yes", "--output", "json")
    assert purged.code == 0, purged.err
    assert (purged.json["done"], purged.json["removed"]["parked"], purged.json["queued"]) == (True, 3, 1)
    assert calls == 3, "counted, removed, and asked once more for what was being worked on"
    table = await syncd("tenants", "purge", "tenant-1", "--dry-run")
    assert "1 messages wait in queues" in table.err


async def test_an_id_that_no_tenant_can_have_is_refused(world: World, syncd: Syncd) -> None:
    result = await syncd("tenants", "purge", "a:b", "--yes")
    assert result.code == 1
    assert "tenantId must be 1 to 63 characters" in result.err
