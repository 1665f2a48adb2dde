"""Connections and tasks over the API."""

from __future__ import annotations

from typing import Any

import pytest

from syncd.domain.collections import AUDIT, CONNECTIONS, CREDENTIALS, TASKS
from syncd.ports.documents import Query, Replace
from tests.integration.http.world import READER, TENANT_1, World

TASK = {
    "integrationId": "github",
    "tenantId": "tenant-1",
    "connectionId": "conn-gh",
    "syncMode": "pull",
    "priority": "high",
    "entityType": "issue",
}


def fields(problem: dict[str, Any]) -> dict[str, str]:
    return {one["field"]: one["detail"] for one in problem["errors"]}


async def test_a_connection_is_created_shown_listed_changed_and_deleted(world: World) -> None:
    made = await world.connection(credential={"kind": "bearer", "token": "t"})
    assert made.status == 201
    assert made.json["credential"] == {"kind": "bearer", "configured": True}
    assert made.json["entities"]["issue"] == {
        "direction": "both",
        "dedupe": "external_id",
        "conflict": "last_write_wins",
    }
    assert made.headers["ETag"] == f'"{made.json["etag"]}"'
    assert (await world.api("GET", "/connections/conn-gh")).json == made.json
    assert (await world.api("GET", "/connections/")).json == {"items": [made.json], "cursor": None}
    changed = await world.api(
        "PATCH", "/connections/conn-gh", {"enabled": False, "settings": {"owner": "p", "repo": "r"}}
    )
    assert (changed.json["enabled"], changed.json["settings"]) == (False, {"owner": "p", "repo": "r"})
    assert (await world.api("DELETE", "/connections/conn-gh")).status == 204
    assert (await world.api("GET", "/connections/conn-gh")).status == 404
    assert world.vault.kept == {}
    assert (await world.store.documents.query(CREDENTIALS, Query(across=True))).items == []


async def test_a_connection_says_for_each_field_who_wins_a_conflict_and_what_makes_two_records_one(
    world: World,
) -> None:
    rules = {
        "direction": "both",
        "dedupe": "composite_key",
        "keyFields": ["email"],
        "conflict": {"default": "merge_fields", "fields": {"phone": "manual"}},
    }
    made = await world.connection(entities={"issue": rules})
    assert (made.status, made.json["entities"]) == (201, {"issue": rules})


async def test_a_connection_must_suit_its_provider(world: World) -> None:
    wrong = await world.connection(settings={"owner": "o", "baseUrl": "ftp://x"})
    assert list(fields(wrong.json)) == ["settings.repo", "settings.baseUrl"]
    unknown = await world.connection(entities={"isue": {"direction": "both"}, "star": {"direction": "pull"}})
    assert fields(unknown.json) == {"entities.isue": "GitHub has no such type; did you mean issue?"}
    only_webhooks = await world.connection(settings={}, entities={"issue": {"direction": "pull"}})
    assert only_webhooks.status == 201


async def test_a_connection_by_configuration_is_checked_as_it_describes_itself(world: World) -> None:
    described = {"list": "/contacts", "items": "data", "paging": "page"}
    settings = {"baseUrl": "https://crm.example", "types": {"contact": described}}

    async def make(**entities: str) -> dict[str, str]:
        rules = {name: {"direction": direction} for name, direction in entities.items()}
        answer = await world.connection("crm", integrationId="rest", settings=settings, entities=rules)
        return {} if answer.status == 201 else fields(answer.json)

    assert await make(contact="both") == {
        "entities.contact": "Any REST API, by configuration can only be read here: the direction must be pull"
    }
    assert await make(contacts="pull") == {
        "entities.contacts": "Any REST API, by configuration has no such type; did you mean contact?"
    }
    described["pagin"] = "page"
    assert await make(contact="pull") == {"settings.types.contact.pagin": "not a setting; did you mean paging?"}
    del described["pagin"]
    assert await make(contact="pull") == {}


async def test_a_connection_that_does_not_suit_any_more_can_be_switched_off(world: World) -> None:
    made = await world.connection()
    stored = await world.store.documents.get(CONNECTIONS, "conn-gh", "conn-gh")
    assert stored is not None
    data = {**stored.data, "settings": {"owner": "o"}}
    await world.store.documents.write(CONNECTIONS, "conn-gh", [Replace("conn-gh", data, stored.etag)])
    assert made.status == 201
    assert (await world.api("PATCH", "/connections/conn-gh", {"enabled": False})).json["enabled"] is False
    still = await world.api("PATCH", "/connections/conn-gh", {"entities": {"issue": {"direction": "pull"}}})
    assert list(fields(still.json)) == ["settings.repo"]


async def test_the_providers_are_listed_with_what_can_be_done_there(world: World) -> None:
    answer = await world.api("GET", "/providers")
    github, rest = answer.json["items"]
    assert (rest["kinds"], "hmac-sha256" in rest["webhookSchemes"]) == (None, True), "its connections describe them"
    assert (github["name"], github["title"], github["webhookSchemes"]) == ("github", "GitHub", ["github"])
    issue = next(kind for kind in github["kinds"] if kind["name"] == "issue")
    assert (issue["creates"], issue["updates"], issue["deletes"]) == ("lookup", True, False)
    assert "title" in issue["writable"]


async def test_an_id_is_unique_in_the_deployment(world: World) -> None:
    await world.connection("same", "tenant-1")
    answer = await world.connection("same", "tenant-2", credential={"kind": "bearer", "token": "t"})
    assert answer.status == 409
    assert world.vault.kept == {}, "the loser's secret does not stay behind"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"id": "a b"}, "id", "letters, digits"),
        ({"id": "x" * 64}, "id", "1 to 63"),
        ({"tenantId": 5}, "tenantId", "string"),
        ({"tenantId": ""}, "tenantId", "1 to 63"),
        ({"integrationId": "gitlab"}, "integrationId", "installed: github"),
        ({"entities": {"issue": {"direction": "sideways"}}}, "entities.issue.direction", "'pull', 'push' or 'both'"),
        ({"entities": {"is sue": {}}}, "entities.is sue", "letters, digits"),
        ({"entities": {"issue": {"dedup": "external_id"}}}, "entities.issue.dedup", "did you mean dedupe"),
        ({"entities": {"issue": {"dedupe": "composite_key"}}}, "entities.issue.keyFields", "at least one field"),
        ({"entities": {"issue": {"conflict": "newest"}}}, "entities.issue.conflict", "must be one of last_write_wins"),
        ({"entities": {"issue": {"conflict": 5}}}, "entities.issue.conflict", "must be one of last_write_wins"),
        (
            {"entities": {"issue": {"conflict": {"fields": {"title": "x"}}}}},
            "entities.issue.conflict.fields.title",
            "must be one of",
        ),
        ({"settngs": {}}, "settngs", "did you mean settings"),
        ({"settings": {"deep": [{"password": "x"}]}}, "settings.deep[0].password", "send it in credential"),
        ({"credential": {"kind": "magic"}}, "credential.kind", "must be one of"),
        ({"credential": {"kind": "bearer"}}, "credential.token", "needed"),
        ({"credential": {"kind": "bearer", "token": ""}}, "credential.token", "not empty"),
        ({"enabled": "yes"}, "enabled", "boolean"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_field_is_named_with_what_is_allowed(
    world: World, body: dict[str, Any], field: str, words: str
) -> None:
    good = {"id": "c", "tenantId": "tenant-1", "integrationId": "github"}
    answer = await world.api("POST", "/connections", {**good, **body})
    assert answer.status == 400
    assert words in fields(answer.json)[field]


async def test_all_wrong_fields_are_named_at_once(world: World) -> None:
    answer = await world.connection(integrationId="x", settings={"token": "x"}, credential={"kind": "y"})
    assert list(fields(answer.json)) == ["integrationId", "settings.token", "credential.kind"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b'{"id": NaN}', "NaN is not JSON"),
        (b'{"id": "a", "id": "b"}', "occurs twice"),
        (b'{"id": 1e999}', "out of range"),
        (b"[" * 1000 + b"]" * 1000, "nested deeper"),
        (b'"\xff"', "not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b'{"id": "\\ud800"}', "surrogate"),
    ],
    ids=["cut off", "NaN", "duplicate", "infinite", "nested", "not UTF-8", "array", "half a character"],
)
async def test_a_body_that_is_not_clean_json_is_refused_with_the_reason(world: World, body: bytes, words: str) -> None:
    answer = await world.api("POST", "/connections", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert words in answer.json["detail"]


async def test_a_body_that_is_not_json_at_all_is_refused(world: World) -> None:
    answer = await world.api("POST", "/tasks", data=b"a=b", headers={"Content-Type": "text/html"})
    assert (answer.status, answer.json["detail"]) == (400, "the body must be application/json, not 'text/html'")


async def test_if_match_guards_a_change(world: World) -> None:
    etag = (await world.connection()).headers["ETag"]
    change = {"enabled": False}
    assert (await world.api("PATCH", "/connections/conn-gh", change, headers={"If-Match": etag})).status == 200
    assert (await world.api("PATCH", "/connections/conn-gh", change, headers={"If-Match": etag})).status == 412


async def test_a_new_credential_replaces_the_old_one_in_the_vault(world: World) -> None:
    await world.connection(credential={"kind": "bearer", "token": "old"})
    await world.api("PATCH", "/connections/conn-gh", {"credential": {"kind": "bearer", "token": "new"}})
    [versions] = world.vault.kept.values()
    [secret] = versions.values()
    assert '"new"' in secret.reveal()


async def test_a_connection_in_use_is_not_deleted(world: World) -> None:
    await world.connection()
    await world.registration(connectionId="conn-gh")
    answer = await world.api("DELETE", "/connections/conn-gh")
    assert answer.status == 409
    assert "reg-1" in answer.json["detail"]


async def test_lists_page_to_their_end_and_no_further(world: World) -> None:
    for number in range(7):
        await world.connection(f"c{number}")
    seen, cursor = [], ""
    while True:
        page = (await world.api("GET", f"/connections?limit=3{cursor}")).json
        seen += [one["id"] for one in page["items"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == [f"c{number}" for number in range(7)]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "tenant=x", "cursor=garbage"]
)
async def test_a_query_that_makes_no_sense_is_refused(world: World, query: str) -> None:
    assert (await world.api("GET", f"/connections?{query}")).status == 400


async def test_a_parameter_that_is_nearly_right_is_named(world: World) -> None:
    answer = await world.api("GET", "/connections?tenant=x")
    assert "did you mean tenantId" in answer.json["detail"]


async def test_a_task_is_created_pending_and_the_planner_is_nudged(world: World) -> None:
    await world.connection()
    made = await world.api("POST", "/tasks", TASK)
    assert (made.status, made.json["status"], made.json["attempt"]) == (201, "pending", 0)
    assert made.json["id"].startswith("tenant-1.")
    assert world.control.nudged == ["planner"]
    assert (await world.api("GET", f"/tasks/{made.json['id']}")).json == made.json


async def test_tasks_are_listed_newest_first_and_by_status(world: World) -> None:
    await world.connection()
    ids = []
    for _ in range(3):
        ids.append((await world.api("POST", "/tasks", TASK)).json["id"])
        await world.clock.advance(1)
    await world.api("POST", f"/tasks/{ids[1]}/cancel")
    listed = (await world.api("GET", "/tasks")).json["items"]
    assert [one["id"] for one in listed] == ids[::-1]
    listed = (await world.api("GET", "/tasks?tenantId=tenant-1&status=pending", token=TENANT_1)).json["items"]
    assert [one["id"] for one in listed] == [ids[2], ids[0]]
    assert (await world.api("GET", "/tasks?status=nonsense")).status == 400


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"syncMode": "sideways"}, "syncMode"),
        ({"priority": "urgent"}, "priority"),
        ({"integrationId": "gitlab"}, "integrationId"),
        ({"connectionId": "nobody"}, "connectionId"),
        ({"tenantId": "tenant-2"}, "connectionId"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_task_that_cannot_run_is_not_created(world: World, change: dict[str, str], field: str) -> None:
    await world.connection()
    answer = await world.api("POST", "/tasks", {**TASK, **change})
    assert answer.status == 400
    assert field in fields(answer.json)


async def test_a_waiting_task_is_cancelled_at_once_and_only_once(world: World) -> None:
    await world.connection()
    path = f"/tasks/{(await world.api('POST', '/tasks', TASK)).json['id']}/cancel"
    assert (await world.api("POST", path)).json["status"] == "cancelled"
    assert (await world.api("POST", path)).status == 409


async def test_a_task_under_way_is_asked_to_stop_at_its_next_checkpoint(world: World) -> None:
    await world.connection()
    made = (await world.api("POST", "/tasks", TASK)).json
    [found] = (await world.store.documents.query(TASKS, Query(partition="tenant-1"))).items
    running = Replace(found.id, {**found.data, "status": "running"}, found.etag)
    await world.store.documents.write(TASKS, "tenant-1", [running])
    cancelled = (await world.api("POST", f"/tasks/{made['id']}/cancel")).json
    assert (cancelled["status"], cancelled["cancelRequested"]) == ("running", True)


@pytest.mark.parametrize("status", ["succeeded", "partial", "failed", "cancelled", "parked"])
async def test_a_task_that_is_over_is_begun_anew_in_its_next_generation(world: World, status: str) -> None:
    await world.connection()
    made = (await world.api("POST", "/tasks", TASK)).json
    [found] = (await world.store.documents.query(TASKS, Query(partition="tenant-1"))).items
    over = {"status": status, "attempt": 2, "hop": 7, "resultId": "r.1", "cancelRequested": True, "extra": "kept"}
    await world.store.documents.write(TASKS, "tenant-1", [Replace(found.id, {**found.data, **over}, found.etag)])
    world.control.nudged.clear()
    retried = (await world.api("POST", f"/tasks/{made['id']}/retry")).json
    assert {name: retried[name] for name in ("status", "generation", "attempt", "hop", "resultId", "extra")} == {
        "status": "pending",
        "generation": 1,
        "attempt": 0,
        "hop": 0,
        "resultId": None,
        "extra": "kept",
    }
    assert "cancelRequested" not in retried
    assert world.control.nudged == ["planner"]
    assert (await world.api("POST", f"/tasks/{made['id']}/retry")).status == 409


@pytest.mark.parametrize("status", ["pending", "queued", "running"])
async def test_a_task_that_waits_or_runs_is_not_begun_a_second_time(world: World, status: str) -> None:
    await world.connection()
    made = (await world.api("POST", "/tasks", TASK)).json
    [found] = (await world.store.documents.query(TASKS, Query(partition="tenant-1"))).items
    await world.store.documents.write(
        TASKS, "tenant-1", [Replace(found.id, {**found.data, "status": status}, found.etag)]
    )
    answer = await world.api("POST", f"/tasks/{made['id']}/retry")
    assert (answer.status, status in answer.json["detail"]) == (409, True)
    assert (await world.api("POST", f"/tasks/{made['id']}/retry", token=READER)).status == 403
    assert (await world.api("GET", f"/tasks/{made['id']}")).json["generation"] == 0


@pytest.mark.parametrize(("identifier", "status"), [("tenant-1.01HF", 404), ("nothing", 400), ("x.y", 404)])
async def test_a_task_that_is_not_there_is_not_found_or_no_id_at_all(
    world: World, identifier: str, status: int
) -> None:
    assert (await world.api("GET", f"/tasks/{identifier}")).status == status


async def test_another_tenants_task_is_not_found(world: World) -> None:
    await world.connection("c2", "tenant-2")
    made = await world.api("POST", "/tasks", {**TASK, "tenantId": "tenant-2", "connectionId": "c2"})
    assert (await world.api("GET", f"/tasks/{made.json['id']}", token=TENANT_1)).status == 404
    assert (await world.api("POST", f"/tasks/{made.json['id']}/cancel", token=TENANT_1)).status == 404


async def test_a_tenant_with_dots_in_its_id_finds_its_tasks(world: World) -> None:
    await world.connection("c3", "acme.example.com")
    made = await world.api("POST", "/tasks", {**TASK, "tenantId": "acme.example.com", "connectionId": "c3"})
    assert (await world.api("GET", f"/tasks/{made.json['id']}")).json["id"] == made.json["id"]


async def test_the_key_of_all_secrets_is_rotated_by_whoever_operates_the_whole_deployment(world: World) -> None:
    await world.registration()
    for token in (READER, TENANT_1):
        assert (await world.api("POST", "/credentials/rotate-key", token=token)).status == 403
    assert (await world.api("POST", "/credentials/rotate-key")).json == {"rewritten": 1}
    rows = (await world.store.documents.query(AUDIT, Query(across=True, limit=100))).items
    [row] = [one.data for one in rows if one.data["action"] == "credentials.rotate-key"]
    assert (row["actor"], row["outcome"], row["after"]) == ("admin", "done", {"rewritten": 1})
