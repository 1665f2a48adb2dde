"""Who may do what: tokens, roles, tenants, floods of log-ins, and secrets that must never come back."""

from __future__ import annotations

import json

import pytest

from syncd.domain.collections import AUDIT
from syncd.http import auth
from syncd.ports.documents import Query
from tests.integration.http.world import ADMIN, READER, TENANT_1, World

CANARY = "canary-7f3a9c"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/connections"), ("POST", "/tasks"), ("GET", "/settings"), ("GET", "/events"), ("DELETE", "/webhooks/x")],
)
async def test_without_a_token_nothing_is_told(world: World, method: str, path: str) -> None:
    answer = await world.api(method, path, token=None)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer ", f"bearer {ADMIN}x", f"Bearer {ADMIN[:-1]}"])
async def test_what_is_not_exactly_a_token_is_refused(world: World, value: str) -> None:
    answer = await world.api("GET", "/connections", token=None, headers={"Authorization": value})
    assert answer.status == 401


async def test_the_word_bearer_may_have_any_case(world: World) -> None:
    answer = await world.api("GET", "/connections", token=None, headers={"Authorization": f"bEARER {ADMIN}"})
    assert answer.status == 200


async def test_a_reader_may_look_and_not_touch(world: World) -> None:
    assert (await world.api("GET", "/connections", token=READER)).status == 200
    answer = await world.api("POST", "/connections", {"id": "x"}, token=READER)
    assert answer.status == 403
    assert "may only read" in answer.json["detail"]


async def test_another_tenants_things_are_not_found_and_not_listed(world: World) -> None:
    await world.connection("conn-1", "tenant-1")
    await world.connection("conn-2", "tenant-2")
    assert (await world.api("GET", "/connections/conn-1", token=TENANT_1)).status == 200
    for method, path in (("GET", "/connections/conn-2"), ("DELETE", "/connections/conn-2")):
        assert (await world.api(method, path, token=TENANT_1)).status == 404
    assert (await world.api("PATCH", "/connections/conn-2", {"enabled": False}, token=TENANT_1)).status == 404
    listed = (await world.api("GET", "/connections", token=TENANT_1)).json["items"]
    assert [one["id"] for one in listed] == ["conn-1"]
    assert (await world.api("GET", "/connections?tenantId=tenant-2", token=TENANT_1)).json["items"] == []


async def test_a_token_of_one_tenant_may_not_create_for_another(world: World) -> None:
    body = {"id": "c", "tenantId": "tenant-2", "integrationId": "github"}
    assert (await world.api("POST", "/connections", body, token=TENANT_1)).status == 403


@pytest.mark.parametrize("path", ["/jobs", "/queues", "/executions", "/settings"])
async def test_what_belongs_to_the_deployment_is_not_for_a_token_of_one_tenant(world: World, path: str) -> None:
    assert (await world.api("GET", path, token=TENANT_1)).status == 403


async def test_a_flood_of_wrong_tokens_is_refused_and_ends_with_its_window(world: World) -> None:
    answers = [(await world.api("GET", "/connections", token=f"guess-{n}")).status for n in range(12)]
    assert answers == [401] * 10 + [429] * 2
    refused = await world.api("GET", "/connections")
    assert refused.status == 429, "a guesser must not learn that a token was right"
    assert int(refused.headers["Retry-After"]) <= auth.FAILURE_WINDOW
    await world.clock.advance(auth.FAILURE_WINDOW + 1)
    assert (await world.api("GET", "/connections")).status == 200


async def test_one_outdated_token_repeated_for_ever_locks_nobody_else_out(world: World) -> None:
    for _ in range(30):
        await world.api("GET", "/connections", token="outdated")
    assert (await world.api("GET", "/connections", token="outdated")).status == 429
    assert (await world.api("GET", "/connections")).status == 200


async def test_every_configured_token_is_compared_whatever_the_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    from syncd.domain.principal import Principal
    from syncd.domain.secrets import Secret

    compared: list[bytes] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        assert len(one) == len(other) == 32, "hashes of one length: the length of a token cannot be timed"
        return one == other

    monkeypatch.setattr(auth.hmac, "compare_digest", counting)
    tokens = auth.Tokens([(Principal(name=str(n)), Secret(f"token-{n}")) for n in range(5)])
    for candidate in (b"token-0", b"token-4", b"wrong"):
        compared.clear()
        tokens.find(auth.hashlib.sha256(candidate).digest())
        assert len(compared) == 5


async def test_an_empty_token_in_the_settings_lets_nobody_in() -> None:
    from syncd.domain.principal import Principal
    from syncd.domain.secrets import Secret

    tokens = auth.Tokens([(Principal(name="oops", role="operate"), Secret(""))])
    assert tokens.find(auth.hashlib.sha256(b"").digest()) is None


async def test_secrets_go_in_and_never_come_out(world: World) -> None:
    """Canaries in every place that takes a secret; then everything that can be read is searched for them."""
    sent = [
        await world.connection("c1", credential={"kind": "bearer", "token": CANARY}),
        await world.api(
            "PATCH", "/connections/c1", {"credential": {"kind": "basic", "username": "u", "password": CANARY}}
        ),
        await world.registration("r1", secret=CANARY),
        await world.api("POST", "/webhooks/r1/rotate", {"secret": CANARY}),
        await world.connection("c2", credential={"kind": "bearer", "password": CANARY}),
        await world.connection("c3", settings={"apiKey": CANARY}),
        await world.api("POST", "/connections", {"id": "c4", "credential": {"kind": 1, "token": CANARY}}),
        await world.api("PATCH", "/settings", {"http.admin_token": CANARY}),
    ]
    assert [answer.status for answer in sent] == [201, 200, 201, 200, 400, 400, 400, 200]
    sent += [
        await world.api("GET", path)
        for path in ("/connections", "/connections/c1", "/webhooks", "/webhooks/r1", "/settings", "/openapi.json")
    ]
    rows = await world.store.documents.query(AUDIT, Query(across=True, limit=100))
    assert rows.items
    everything = [answer.text + json.dumps(dict(answer.headers)) for answer in sent]
    everything += [json.dumps(row.data) for row in rows.items]
    everything += [repr(facts) for facts in world.observed]
    assert not [text for text in everything if CANARY in text]
    assert any(CANARY in secret.reveal() for versions in world.vault.kept.values() for secret in versions.values())


async def test_every_change_leaves_a_row_that_says_who_what_and_how_it_ended(world: World) -> None:
    await world.connection("c1")
    await world.connection("c1")
    for _ in range(2):
        await world.clock.advance(1)
        await world.api("POST", "/jobs/finops-daily-sync/run", {"at": "2023-11-14T03:00:00Z"})
        await world.ticks.run_next(world.job)
    rows = (await world.store.documents.query(AUDIT, Query(across=True, order="at", limit=100))).items
    told = [(row.data["actor"], row.data["action"], row.data["subject"], row.data["outcome"]) for row in rows]
    assert told == [
        ("admin", "connection.create", "c1", "done"),
        ("admin", "job.run", "finops-daily-sync", "done"),
        ("admin", "job.run", "finops-daily-sync", "failed: conflict"),
    ]
    assert rows[0].data["tenantId"] == "tenant-1"
    assert rows[0].data["after"]["integrationId"] == "github"
