from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from syncd.domain.merge import ABSENT
from syncd.flows.conflicts import ConflictLog
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.operate.conflicts import ConflictsFlow
from syncd.ports.observe import ignore
from tests.integration.conflicts import Holding, field, record, written_down
from tests.integration.http.world import READER, TENANT_1, World


async def recorded(world: World) -> str:
    """A conflict of four open fields, and the routes to decide it."""
    documents, clock = world.store.documents, world.clock
    entities = Holding(documents)
    flow = ConflictsFlow(
        documents=documents,
        entities=entities,
        audit=AuditTrail(documents=documents, clock=clock),
        clock=clock,
    )
    world.change(operate=replace(world.services.operate, conflicts=flow))
    log = ConflictLog(documents=documents, clock=clock, observe=ignore)
    [one] = await written_down(log, [record(field("a"), field("b", theirs=ABSENT), field("c"), field("d"))])
    await entities.hold(dict.fromkeys("abcd", "ours"), dict.fromkeys("abcd", one))
    return one


async def test_a_conflict_is_listed_shown_and_decided(world: World) -> None:
    one = await recorded(world)
    shown = await world.api("GET", f"/conflicts/{one}")
    assert shown.headers["ETag"] == f'"{shown.json["etag"]}"'
    assert (await world.api("GET", "/conflicts?tenantId=t&status=open")).json == {"items": [shown.json], "cursor": None}
    assert (await world.api("GET", "/conflicts?entityId=t:contact.2")).json["items"] == []
    decisions = {"b": {"take": "theirs"}, "c": {"value": None}, "d": {"remove": True}}
    half = await world.api("POST", f"/conflicts/{one}/resolve", {"fields": decisions})
    assert (half.status, half.json["status"]) == (200, "open")
    whole = await world.api("POST", f"/conflicts/{one}/resolve", {"take": "theirs"})
    assert (whole.json["status"], whole.json["resolvedBy"]) == ("resolved", "admin")
    assert [(one["taken"], one.get("result", "absent")) for one in whole.json["fields"]] == [
        ("theirs", "theirs"),
        ("theirs", "absent"),
        ("value", None),
        ("value", "absent"),
    ]
    assert (await world.api("POST", f"/conflicts/{one}/resolve", {"take": "ours"})).status == 409


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "fields"),
        ({"take": "both"}, "take"),
        ({"fields": {"x": {"take": "ours"}}}, "fields.x"),
        ({"fields": {"a": {}}}, "fields.a"),
        ({"fields": {"a": {"take": "ours", "value": 1}}}, "fields.a"),
        ({"fields": {"a": {"take": None}}}, "fields.a"),
        ({"fields": {"a": {"remove": False}}}, "fields.a.remove"),
        ({"fields": {"a": {"vaule": 1}}}, "fields.a.vaule"),
    ],
)
async def test_a_wrong_decision_is_named_and_changes_nothing(world: World, body: Any, path: str) -> None:
    one = await recorded(world)
    answer = await world.api("POST", f"/conflicts/{one}/resolve", body)
    assert answer.status == 400
    assert [wrong["field"] for wrong in answer.json["errors"]] == [path]
    assert (await world.api("GET", f"/conflicts/{one}")).json["status"] == "open"


async def test_who_may_only_read_or_is_of_another_tenant_decides_nothing(world: World) -> None:
    one = await recorded(world)
    assert (await world.api("POST", f"/conflicts/{one}/resolve", {"take": "ours"}, token=READER)).status == 403
    assert (await world.api("GET", f"/conflicts/{one}", token=TENANT_1)).status == 404
    assert (await world.api("POST", f"/conflicts/{one}/resolve", {"take": "ours"}, token=TENANT_1)).status == 404
    assert (await world.api("GET", "/conflicts", token=TENANT_1)).json["items"] == []
