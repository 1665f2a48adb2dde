"""`POST /tenants/{id}/purge`: who may, what is refused, and what the answer says."""

from __future__ import annotations

from syncd.domain.outcomes import DONE
from tests.integration.http.test_resources import work_off
from tests.integration.http.test_webhooks import change, send
from tests.integration.http.world import READER, TENANT_1, World


async def test_a_tenant_is_counted_purged_and_gone(world: World) -> None:
    for tenant in ("1", "2"):
        await world.connection(f"conn-{tenant}", f"tenant-{tenant}", credential={"kind": "bearer", "token": "t"})
        await world.registration(f"reg-{tenant}", f"tenant-{tenant}", connectionId=f"conn-{tenant}")
        await send(world, change(), f"/webhooks/reg-{tenant}/events")
    assert await work_off(world) == [DONE, DONE]
    counted = await world.api("POST", "/tenants/tenant-1/purge", {"dryRun": True})
    assert counted.status == 200
    there = {name: count for name, count in counted.json["counts"].items() if count}
    expected = {"registrations": 1, "connections": 1, "credentials": 1, "vaultVersions": 2}
    assert there == {**expected, "entities": 1, "aliases": 1, "events": 1}
    assert (counted.json["dryRun"], counted.json["whole"], counted.json["queued"]) == (True, True, 0)
    assert len(world.vault.kept) == 4, "a dry run removes nothing"
    purged = await world.api("POST", "/tenants/tenant-1/purge", {})
    assert (purged.status, purged.json["done"], purged.json["leased"]) == (200, True, 0)
    assert {name: count for name, count in purged.json["removed"].items() if count} == there
    assert [one["id"] for one in (await world.api("GET", "/connections")).json["items"]] == ["conn-2"]
    assert [one["id"] for one in (await world.api("GET", "/webhooks")).json["items"]] == ["reg-2"]
    assert (await world.api("GET", "/entities/issue?tenantId=tenant-1")).json["items"] == []
    assert len((await world.api("GET", "/entities/issue?tenantId=tenant-2")).json["items"]) == 1
    assert len(world.vault.kept) == 2
    refused = await send(world, change(), "/webhooks/reg-1/events")
    assert refused.status == 404, "the same process does not remember the registration"


async def test_only_who_may_operate_in_the_tenant_may_purge_it(world: World) -> None:
    await world.connection("conn-2", "tenant-2")
    for path, token, status in (
        ("tenant-1", READER, 403),
        ("tenant-2", TENANT_1, 403),
        ("tenant-1", TENANT_1, 200),
        ("tenant-2", None, 401),
    ):
        for body in ({"dryRun": True}, {}):
            answer = await world.api("POST", f"/tenants/{path}/purge", body, token=token)
            assert answer.status == status, (path, token)
    assert (await world.api("GET", "/connections/conn-2")).status == 200


async def test_what_cannot_be_meant_is_refused(world: World) -> None:
    for path, body in (
        ("tenant-1", {"dryrun": True}),
        ("tenant-1", {"dryRun": "yes"}),
        ("-odd", {}),
        ("%2A", {}),
        ("a%3Aissue", {}),
    ):
        assert (await world.api("POST", f"/tenants/{path}/purge", body)).status == 400, path
    assert (await world.api("GET", "/tenants/tenant-1/purge")).status == 405
    description = (await world.api("GET", "/openapi.json")).json
    operation = description["paths"]["/api/v1/tenants/{tenantId}/purge"]["post"]
    assert operation["x-role"] == "operate"
    assert "dryRun" in description["components"]["schemas"]["PurgeTenant"]["properties"]
