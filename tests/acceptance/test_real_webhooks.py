"""Real GitHub payloads through the running daemon: what issue and interface promise of them, read back from the API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.process import Daemon, Registration, eventually
from tests.acceptance.reading import event, events, metric, parked

PAYLOADS = Path(__file__).parents[3] / "shared" / "data" / "github_webhooks.json"

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not PAYLOADS.exists(), reason=f"the real GitHub payloads are not beside this checkout ({PAYLOADS})"
    ),
]

Expected = tuple[str, str | None, str | None, str | None]
#: By event and position: eventType, entityType, entityId, operation. Read off the payloads by eye, with the rules of the
#: interface: type = event.action; entity = the event's own object; id = <repository>#<number> where numbered, else the object's
#: own, for pushes and refs repository and ref; ping has no entity.
EXPECTED: dict[tuple[str, int], Expected] = {
    ("check_suite", 0): ("check_suite.completed", "check_suite", "118578147", "update"),
    ("check_suite", 1): ("check_suite.completed", "check_suite", "118578147", "update"),
    ("check_suite", 2): ("check_suite.completed", "check_suite", "118578147", "update"),
    ("create", 0): ("create", "ref", "186853002:simple-tag", "create"),
    ("create", 1): ("create", "ref", "186853002:simple-tag", "create"),
    ("create", 2): ("create", "ref", "186853002:simple-tag", "create"),
    ("deployment_review", 0): ("deployment_review.requested", "deployment_review", "5453085689", "update"),
    ("discussion", 0): ("discussion.created", "discussion", "17273051#90", "create"),
    ("discussion", 1): ("discussion.answered", "discussion", "186853002#4", "update"),
    ("discussion", 2): ("discussion.category_changed", "discussion", "186853002#4", "update"),
    ("fork", 0): ("fork", "fork", "186853261", "create"),
    ("fork", 1): ("fork", "fork", "186853261", "create"),
    ("fork", 2): ("fork", "fork", "186853261", "create"),
    ("issue_comment", 0): ("issue_comment.created", "issue_comment", "492700400", "create"),
    ("issue_comment", 1): ("issue_comment.created", "issue_comment", "492700400", "create"),
    ("issue_comment", 2): ("issue_comment.created", "issue_comment", "492700400", "create"),
    ("issues", 0): ("issues.edited", "issue", "186853002#1", "update"),
    ("issues", 1): ("issues.assigned", "issue", "186853002#1", "update"),
    ("issues", 2): ("issues.assigned", "issue", "186853002#1", "update"),
    ("marketplace_purchase", 0): ("marketplace_purchase.purchased", "marketplace_purchase", "18404719", "create"),
    ("marketplace_purchase", 1): ("marketplace_purchase.cancelled", "marketplace_purchase", "28536653", "update"),
    ("marketplace_purchase", 2): ("marketplace_purchase.changed", "marketplace_purchase", "18404719", "update"),
    ("membership", 0): ("membership.removed", "membership", "3253328:21031067", "delete"),
    ("membership", 1): ("membership.added", "membership", "3253328:21031067", "create"),
    ("membership", 2): ("membership.removed", "membership", "3253328:21031067", "delete"),
    ("org_block", 0): ("org_block.blocked", "org_block", "39652351", "update"),
    ("org_block", 1): ("org_block.blocked", "org_block", "39652351", "update"),
    ("org_block", 2): ("org_block.blocked", "org_block", "39652351", "update"),
    ("page_build", 0): ("page_build", "page_build", "130514899", "update"),
    ("page_build", 1): ("page_build", "page_build", "130514899", "update"),
    ("page_build", 2): ("page_build", "page_build", "130514899", "update"),
    ("ping", 0): ("ping", None, None, None),
    ("ping", 1): ("ping", None, None, None),
    ("ping", 2): ("ping", None, None, None),
    ("pull_request", 0): ("pull_request.opened", "pull_request", "186853002#2", "create"),
    ("pull_request", 1): ("pull_request.assigned", "pull_request", "186853002#2", "update"),
    ("pull_request", 2): ("pull_request.assigned", "pull_request", "186853002#2", "update"),
    ("pull_request_review_thread", 0): (
        "pull_request_review_thread.resolved",
        "pull_request_review_thread",
        "PRRT_kwDOEL39TM4w7XDQ",
        "update",
    ),
    ("pull_request_review_thread", 1): (
        "pull_request_review_thread.resolved",
        "pull_request_review_thread",
        "PRRT_kwDOFd42Pc4rQOUv",
        "update",
    ),
    ("pull_request_review_thread", 2): (
        "pull_request_review_thread.unresolved",
        "pull_request_review_thread",
        "PRRT_kwDOFd42Pc4rQOUv",
        "update",
    ),
    ("push", 0): ("push", "push", "186853002:refs/tags/simple-tag", "create"),
    ("push", 1): ("push", "push", "186853002:refs/tags/simple-tag", "delete"),
    ("push", 2): ("push", "push", "186853002:refs/tags/simple-tag", "delete"),
    ("repository", 0): ("repository.publicized", "repository", "186853002", "update"),
    ("repository", 1): ("repository.created", "repository", "186853261", "create"),
    ("repository", 2): ("repository.created", "repository", "186853261", "create"),
    ("repository_import", 0): ("repository_import", "repository_import", "135493233", "update"),
    ("repository_import", 1): ("repository_import", "repository_import", "135493233", "update"),
    ("star", 0): ("star.created", "star", "186853002:21031067", "create"),
    ("star", 1): ("star.created", "star", "186853002:21031067", "create"),
    ("star", 2): ("star.deleted", "star", "186853002:21031067", "delete"),
    ("team", 0): ("team.added_to_repository", "team", "3253328", "update"),
    ("team", 1): ("team.added_to_repository", "team", "3253328", "update"),
    ("team", 2): ("team.created", "team", "3253328", "create"),
    ("workflow_job", 0): ("workflow_job.in_progress", "workflow_job", "2832853555", "update"),
    ("workflow_job", 1): ("workflow_job.completed", "workflow_job", "289782451", "update"),
    ("workflow_job", 2): ("workflow_job.completed", "workflow_job", "289782451", "update"),
}
#: Types whose one entity is deleted last: the membership, the tag and the star are taken back.
ENDS_DELETED = {"membership", "push", "star"}
#: The embedded queue always knows them; a broker absorbs them, and it is told only where the row can be read in a moment.
SAID_OF_DUPLICATES = {"embedded": {"duplicate"}, "azure": {"duplicate", "accepted"}}
TYPES = sorted({kind for _, kind, _, _ in EXPECTED.values() if kind is not None})


def payloads() -> dict[tuple[str, int], bytes]:
    """As GitHub sends them: compact, in UTF-8."""
    return {
        (entry["event"], number): json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
        for entry in json.loads(PAYLOADS.read_bytes())
        for number, payload in enumerate(entry["payloads"])
    }


def delivery(key: tuple[str, int]) -> str:
    return f"delivery-{key[0]}-{key[1]}"


class Received:
    """A daemon that was sent every payload once, and has processed them."""

    def __init__(self, daemon: Daemon, registration: Registration) -> None:
        self.daemon = daemon
        self.registration = registration
        self.payloads = payloads()
        self.answers: dict[tuple[str, int], tuple[int, str, str]] = {}

    async def send(self, key: tuple[str, int], body: bytes | None = None) -> tuple[int, str, str]:
        answer = await self.daemon.post_webhook(
            self.registration,
            self.payloads[key] if body is None else body,
            event=key[0],
            delivery=delivery(key),
        )
        said = answer.json()
        return answer.status, said["status"], said["eventId"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def received(tmp_path_factory: pytest.TempPathFactory, backend: str) -> AsyncIterator[Received]:
    async with Daemon(tmp_path_factory.mktemp("real") / "data") as daemon:
        made = await daemon.api(
            "POST",
            "/connections",
            {
                "id": "conn-github",
                "tenantId": "tenant-1",
                "integrationId": "github",
                "settings": {"baseUrl": "http://127.0.0.1:9", "owner": "o", "repo": "r"},
                "credential": {"kind": "bearer", "token": "acceptance"},
                "entities": {kind: {"direction": "pull"} for kind in TYPES},
            },
        )
        made.ok()
        found = Received(daemon, await daemon.register_github())
        for key in found.payloads:
            found.answers[key] = await found.send(key)
        await daemon.drained("sync-outbound")
        yield found


async def test_the_table_of_expectations_covers_every_payload(received: Received) -> None:
    assert received.payloads.keys() == EXPECTED.keys()


async def test_every_payload_is_accepted_once(received: Received) -> None:
    assert {key: (status, said) for key, (status, said, _) in received.answers.items()} == dict.fromkeys(
        EXPECTED, (200, "accepted")
    )
    assert len({event_id for _, _, event_id in received.answers.values()}) == len(EXPECTED)


async def test_each_has_the_right_type_entity_and_operation(received: Received) -> None:
    rows = {row["eventId"]: row for row in await events(received.daemon)}
    found: dict[tuple[str, int], Expected] = {}
    for key, (_, _, event_id) in received.answers.items():
        row = rows[event_id]
        assert (row["status"], row.get("reason")) == ("processed", None), (key, row)
        found[key] = (row["eventType"], row.get("entityType"), row.get("entityId"), row.get("operation"))
    assert found == EXPECTED


async def test_what_came_is_kept_byte_for_byte(received: Received) -> None:
    for key, (_, _, event_id) in received.answers.items():
        row = await event(received.daemon, event_id)
        if "raw" in row:
            assert row["raw"].encode() == received.payloads[key], key
        else:
            assert len(received.payloads[key]) > 64 * 1024, "only what is too large for a message lies beside it"


async def test_every_type_became_an_entity_of_its_connection(received: Received) -> None:
    for kind in TYPES:
        wanted = {identifier for _, its, identifier, _ in EXPECTED.values() if its == kind}
        listed = (await received.daemon.api("GET", f"/entities/{kind}?tenantId=tenant-1&limit=100")).ok()["items"]
        found = {item["externalIds"]["conn-github"] for item in listed}
        assert found == (set() if kind in ENDS_DELETED else wanted), kind


async def test_a_ping_is_accepted_and_makes_no_entity(received: Received) -> None:
    for number in range(3):
        row = await event(received.daemon, received.answers["ping", number][2])
        assert row["status"] == "processed"
        assert "entity" not in row
        assert row["note"] == "nothing to do"


async def test_a_replay_of_each_answers_duplicate_and_changes_nothing(received: Received, backend: str) -> None:
    before = {row["eventId"]: row for row in await events(received.daemon)}
    counted = await metric(received.daemon, "webhook_duplicates")
    for key, (_, _, event_id) in received.answers.items():
        status, said, same = await received.send(key)
        assert (status, same) == (200, event_id), key
        assert said in SAID_OF_DUPLICATES[backend], key
    await received.daemon.drained("sync-outbound")
    after = {row["eventId"]: row for row in await events(received.daemon)}
    assert after.keys() == before.keys()
    for event_id, row in after.items():
        assert {**row, "duplicates": 0} == {**before[event_id], "duplicates": 0}
    if backend == "embedded":
        for event_id, row in after.items():
            assert row["duplicates"] == before[event_id]["duplicates"] + 1, row
        assert await metric(received.daemon, "webhook_duplicates") == counted + len(EXPECTED)


async def test_another_body_under_a_used_delivery_id_is_parked_and_changes_nothing(
    received: Received, backend: str
) -> None:
    key = ("issues", 0)
    changed = json.loads(received.payloads[key])
    changed["issue"]["title"] = "someone else's words"
    body = json.dumps(changed).encode()
    status, said, event_id = await received.send(key, body)
    assert (status, said, event_id) == (200, "accepted", received.answers[key][2]), "authentic, so it is kept"
    await received.daemon.drained("sync-outbound")
    [found] = [item for item in await parked(received.daemon) if item["bin"] == "poison"]
    assert "another body came under a delivery id that was used" in found["reason"]
    shown = (await received.daemon.api("GET", f"/queues/sync-outbound/parked/{found['id']}")).ok()
    assert "someone else's words" in json.dumps(shown), "it can be looked at"
    row = await event(received.daemon, event_id)
    assert row["status"] == "processed", "the first body's row stands"
    assert len(row["otherBodies"]) == 1
    entities = (await received.daemon.api("GET", "/entities/issue?tenantId=tenant-1")).ok()
    assert "someone else's words" not in json.dumps(entities)
    status, said, again = await received.send(key, body)
    assert (status, again) == (200, event_id)
    assert said in SAID_OF_DUPLICATES[backend]
    await received.daemon.drained("sync-outbound")
    assert len([item for item in await parked(received.daemon) if item["bin"] == "poison"]) == 1, "it is parked once"


async def test_the_daemon_is_well_after_all_of_it(received: Received) -> None:
    async def well() -> bool:
        answer = await received.daemon.request("GET", "/readyz")
        return answer.status == 200 and {part["status"] for part in answer.json()["components"]} == {"ok"}

    await eventually(well, what="a daemon that is well")
