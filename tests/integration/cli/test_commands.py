"""Commands over the admin API: the real server with real flows, asked as an operator asks."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from syncd.flows.jobs import TickResult, TickStatus
from tests.integration.cli.kit import Syncd, parked, time_passes
from tests.integration.http.test_resources import work_off
from tests.integration.http.test_webhooks import change, send, signed
from tests.integration.http.world import World

# -- jobs, executions, status --


async def test_a_job_is_run_paused_and_resumed(world: World, syncd: Syncd) -> None:
    ran = await syncd("jobs", "run", "finops-daily-sync", "--at", "2023-11-14T03:00:00Z")
    assert ran.code == 0
    assert (await syncd("executions", "show", ran.out.strip(), "--output", "json")).json["status"] == "due"
    assert await world.ticks.run_next(world.job)
    assert [tick.at for tick in world.runs.ticks] == [1699930800.0]
    [tick] = (await syncd("jobs", "history", "finops-daily-sync", "--output", "json")).json
    assert (tick["status"], tick["executionId"]) == ("succeeded", ran.out.strip())
    again = await syncd("jobs", "run", "finops-daily-sync", "--at", "2023-11-14T03:00:00Z")
    assert again.code == 1
    assert "has ended as succeeded" in again.err
    assert "0 0 3 * * * UTC   on      2023-11-15T03:00:00.000Z   succeeded" in (await syncd("jobs", "list")).out
    assert (await syncd("jobs", "pause", "finops-daily-sync")).out == "finops-daily-sync: paused\n"
    assert "paused" in (await syncd("jobs", "list")).out
    assert "pausedBy" in (await syncd("jobs", "show", "finops-daily-sync")).out
    resumed = await syncd("jobs", "resume", "finops-daily-sync")
    assert resumed.out == "finops-daily-sync: resumed, next at 2023-11-15T03:00:00.000Z\n"
    assert "there are: finops-daily-sync" in (await syncd("jobs", "history", "odd")).err


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("unknown", 1)])
async def test_waiting_for_a_run_ends_with_it_and_fails_unless_it_succeeded(
    world: World, syncd: Syncd, status: TickStatus, code: int
) -> None:
    world.runs.result = TickResult(status=status, reason="504 after 230 s")

    async def runner() -> None:
        while not await world.ticks.run_next(world.job):
            await asyncio.sleep(0)

    running = asyncio.create_task(runner())
    result = await syncd("jobs", "run", "finops-daily-sync", "--wait", "--output", "json")
    await running
    assert (result.code, result.json["status"]) == (code, status)
    assert "504 after 230 s" in (await syncd("executions", "list")).out


async def test_status_is_a_table_of_parts_and_fails_unless_ready(world: World, syncd: Syncd) -> None:
    ready = await syncd("status")
    assert ready.code == 0
    assert "ready, generation 1, roles webhooks, scheduler" in ready.out
    assert "blobs   degraded   slow" in ready.out
    object.__setattr__(world.control.reported, "phase", "draining")
    draining = await syncd("status", "--output", "json")
    assert (draining.code, draining.json["status"]) == (1, "draining")


# -- connections, tasks, entities --


async def test_a_connection_is_made_from_options_and_its_credential_is_never_shown(world: World, syncd: Syncd) -> None:
    credential = json.dumps({"kind": "bearer", "token": "CANARY"})
    settings = ("--setting", "owner=o", "--setting", "n=5", "--setting", "repo=r")
    options = ("--tenant", "t1", "--integration", "github", *settings)
    made = await syncd(
        *("connections", "add", "conn-1", *options, "--entity", "issue:both", "--entity", "label"),
        *("--credential", "-", "--output", "json"),
        stdin=credential,
    )
    assert made.code == 0, made.err
    assert made.json["settings"] == {"owner": "o", "n": 5, "repo": "r"}
    assert {name: rules["direction"] for name, rules in made.json["entities"].items()} == {
        "issue": "both",
        "label": "pull",
    }
    shown = await syncd("connections", "show", "conn-1")
    listed = await syncd("connections", "list")
    assert "conn-1   t1       github        issue:both, label:pull   bearer       true" in listed.out
    assert "CANARY" not in "".join(one.out + one.err for one in (made, shown, listed))
    assert (await syncd("connections", "remove", "conn-1")).code == 2  # nobody can be asked
    assert (await syncd("connections", "remove", "conn-1", "--yes")).out == "conn-1: deleted\n"
    assert (await syncd("connections", "show", "conn-1")).code == 1


async def test_a_connection_is_made_from_a_file_and_options_go_on_top(world: World, syncd: Syncd) -> None:
    body = {"id": "conn-2", "tenantId": "t1", "integrationId": "github", "settings": {"owner": "o", "repo": "r"}}
    made = await syncd(
        "connections", "add", "--file", "-", "--tenant", "t2", "--output", "json", stdin=json.dumps(body)
    )
    assert (made.json["id"], made.json["tenantId"]) == ("conn-2", "t2")
    assert (await syncd("connections", "add", "x")).err.endswith("missing: --tenant, --integration\n")


async def test_what_the_api_finds_wrong_is_one_line_with_the_field(world: World, syncd: Syncd) -> None:
    result = await syncd("connections", "add", "c", "--tenant", "t 1", "--integration", "github")
    assert result.code == 1
    assert "syncd: tenantId must be 1 to 63 characters" in result.err
    options = ("--tenant", "t1", "--integration", "nope", "--setting", "password=x")
    several = await syncd("connections", "add", "c", *options)
    assert "\n  settings.password: a secret does not belong into settings" in several.err


async def test_a_task_takes_tenant_and_integration_from_its_connection(world: World, syncd: Syncd) -> None:
    await world.connection()
    added = await syncd("tasks", "add", "conn-gh", "--entity", "issue", "--priority", "high")
    task = added.out.strip()
    assert task.startswith("tenant-1.")
    [listed] = (await syncd("tasks", "list", "--tenant", "tenant-1", "--status", "pending", "--output", "json")).json
    assert (listed["id"], listed["priority"], listed["entityType"]) == (task, "high", "issue")
    assert (await syncd("tasks", "cancel", task)).out == f"{task}: cancelled\n"
    again = await syncd("tasks", "cancel", task)
    assert (again.code, "the task has ended already: cancelled" in again.err) == (1, True)
    assert "cancelled" in (await syncd("tasks", "show", task)).out
    assert (await syncd("tasks", "retry", task)).out == f"{task}: pending, generation 1\n"
    again = await syncd("tasks", "retry", task)
    assert (again.code, "the task is pending" in again.err) == (1, True)


async def test_an_entity_is_changed_field_by_field_and_only_where_that_changes_it(world: World, syncd: Syncd) -> None:
    made = (await world.api("POST", "/entities/issue", {"tenantId": "tenant-1", "data": {"a": 1, "b": "x"}})).json
    edit = ("entities", "edit", made["id"], "--output", "json")
    changed = await syncd(*edit, "--set", "a=2", "--set", "b=null", "--set", "c=text")
    assert changed.json["data"] == {"a": 2, "c": "text"}
    same = await syncd(*edit, "--set", "a=2")
    assert (same.code, same.out) == (0, "")
    assert same.err.endswith("nothing changed\n")
    replaced = await syncd(*edit, "--data", "-", stdin='{"d": true}')
    assert replaced.json["data"] == {"d": True}
    assert (await syncd(*edit, "--data", "-", stdin="[1]")).code == 2
    assert (await syncd(*edit)).code == 2  # no terminal, no editor
    [listed] = (await syncd("entities", "list", "issue", "--tenant", "tenant-1", "--output", "json")).json
    assert listed["data"] == {"d": True}
    assert (await syncd("entities", "show", "nonsense")).code == 2
    assert (await syncd("entities", "show", "tenant-1:issue.none")).code == 1


# -- queues --


async def test_lists_follow_their_pages_up_to_the_limit_and_say_that_there_is_more(
    world: World, syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.cli.client.PAGE", 2)
    ids = await parked(world, 5)
    whole = await syncd("queues", "parked", "sync-outbound", "--output", "json")
    assert [one["id"] for one in whole.json] == ids
    assert "first" not in whole.err
    some = await syncd("queues", "parked", "sync-outbound", "--limit", "3", "--output", "json")
    assert [one["id"] for one in some.json] == ids[:3]
    assert some.err.endswith("these are the first 3; --limit N shows more, --limit 0 all\n")
    exact = await syncd("queues", "parked", "sync-outbound", "--limit", "5")
    assert "first" not in exact.err
    assert len((await syncd("queues", "parked", "sync-outbound", "--limit", "0", "--output", "json")).json) == 5


async def test_the_key_of_all_secrets_is_rotated(world: World, syncd: Syncd) -> None:
    await world.registration()
    assert (await syncd("credentials", "rotate-key")).out == "1 versions of secrets are under the new key\n"
    assert (await syncd("credentials", "rotate-key", "--output", "json")).json == {"rewritten": 1}


async def test_a_bulk_replay_sends_each_match_once_even_where_it_is_parked_again(
    world: World, syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.cli.client.PAGE", 3)
    # The bound of a replay is the daemon's wall clock, so the frozen one stands where the wall's does.
    await world.clock.set(time.time() - 100)
    await parked(world, 7)
    await world.clock.set(time.time() + 300)  # later than the wall, however long the commands take
    where = (
        "--where",
        "bin=not_understood,tenant=tenant-1",
        "--where",
        "reason=operation must be one of create, update",
    )
    counted = await syncd("queues", "replay", "sync-outbound", *where, "--dry-run")
    assert counted.out == "7 would be replayed\n"

    stopped = asyncio.Event()

    async def worker() -> None:
        while not stopped.is_set():
            await work_off(world)
            await asyncio.sleep(0)

    working = asyncio.create_task(worker())
    async with time_passes(world):
        done = await syncd("queues", "replay", "sync-outbound", *where, "--rate", "5")
    stopped.set()
    await working
    assert (done.code, done.out) == (0, "7 replayed\n"), done.err
    await work_off(world)
    rows = (await syncd("queues", "list", "--output", "json")).json
    assert {row["name"]: (row["ready"], row["dead"]) for row in rows}["sync-outbound"] == (0, 7)


async def test_ids_that_cannot_be_replayed_are_named_with_the_reason_and_keep_no_other_back(
    world: World, syncd: Syncd
) -> None:
    one, gone, other = await parked(world, 3)
    await syncd("queues", "drop", gone, "--yes")
    async with time_passes(world):
        done = await syncd("queues", "replay", "sync-outbound", one, "typo", gone, other)
    assert (done.code, done.out) == (1, "2 replayed; 2 could not be\n")
    assert "typo: there is no parked message 'typo'" in done.err
    assert f"{gone}: the parked message {gone!r} was dropped" in done.err


async def test_a_replay_needs_ids_a_filter_or_all(world: World, syncd: Syncd) -> None:
    ids = await parked(world, 3)
    for arguments in ((), ("--all", "--where", "bin=poison"), (ids[0], "--all")):
        refused = await syncd("queues", "replay", "sync-outbound", *arguments)
        assert refused.code == 2
        assert "say which messages: IDs, --where field=value, or --all" in refused.err
    async with time_passes(world):
        assert (await syncd("queues", "replay", "sync-outbound", ids[0], "--output", "json")).json == {
            "matched": 1,
            "replayed": 1,
            "failed": 0,
        }
        assert (await syncd("queues", "replay", "sync-outbound", "--all")).out == "2 replayed\n"
        assert (await syncd("queues", "replay", "sync-outbound", "--all")).out == "0 replayed\n"
    assert len(await world.store.queue.peek("sync-outbound")) == 3
    peeked = await syncd("queues", "peek", "sync-outbound", "--output", "json")
    assert [one.get("attempt", 0) for one in peeked.json] == [0, 0, 0]


async def test_a_parked_message_is_mended_and_sent_again_or_dropped(world: World, syncd: Syncd) -> None:
    first, second = await parked(world, 2)
    assert "tenant-1" in (await syncd("queues", "show", first)).out
    mended = change(1, entityId="mended").decode()
    edited = await syncd("queues", "edit", first, "--body", "-", stdin=mended)
    assert f"`syncd queues replay sync-outbound {first}` sends it again" in edited.out
    broken = await syncd("queues", "edit", first, "--body", "-", stdin="{oops")
    assert broken.code == 2
    assert "-: it is not JSON" in broken.err
    async with time_passes(world):
        await syncd("queues", "replay", "sync-outbound", first)
    await work_off(world)
    [entity] = (await syncd("entities", "list", "issue", "--tenant", "tenant-1", "--output", "json")).json
    assert entity["externalIds"] == {"conn-gh": "mended"}
    assert (await syncd("queues", "drop", second)).code == 2
    assert (await syncd("queues", "drop", second, "--yes")).out == f"{second}: dropped\n"
    assert (await syncd("queues", "drop", "abc", "--yes")).code == 2
    assert (await syncd("queues", "parked", "sync-outbound", "--output", "json")).json == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("queues", "parked", "q", "--where", "tennant=x"), "fields: tenant, connection, bin"),
        (("queues", "parked", "q", "--where", "bin=odd"), "bins: tenant_must_act"),
        (("queues", "parked", "q", "--where", "after=yesterday"), "is not a time"),
        (("queues", "replay", "q", "--all", "--rate", "0"), "--rate"),
        (("jobs", "run", "j", "--at", "soon"), "is not a time"),
        (("connections", "add", "c", "--entity", "issue:sideways"), "is not TYPE"),
        (("connections", "add", "c", "--setting", "x"), "is not name=value"),
        (("entities", "list", "issue"), "--tenant"),
    ],
)
async def test_usage_is_refused_before_anything_is_opened(syncd: Syncd, arguments: tuple[str, ...], text: str) -> None:
    result = await syncd(*arguments)
    assert result.code == 2
    assert text in result.err
    assert "no daemon" not in result.err


# -- webhooks --


async def test_a_made_secret_is_shown_once_and_signs(world: World, syncd: Syncd) -> None:
    await world.connection()
    made = await syncd("webhooks", "register", "reg-1", "--connection", "conn-gh", "--scheme", "hmac-sha256")
    assert made.code == 0, made.err
    assert "path:   /webhooks/reg-1/events" in made.out
    secret = made.out.split("secret: ")[1].strip()
    assert "shown this once" in made.err
    answer = await send(world, change(), **signed(change(), secret.encode()))
    assert answer.status == 200
    await work_off(world)
    outputs = [await syncd("webhooks", "show", "reg-1"), await syncd("webhooks", "list")]
    [event] = (await syncd("webhooks", "events", "reg-1", "--output", "json")).json
    assert event["status"] == "processed"
    assert (await syncd("webhooks", "replay", event["id"])).out == f"{event['id']}: sent through again\n"
    assert await work_off(world)
    rotated = await syncd("webhooks", "rotate", "reg-1", "--overlap", "0", "--secret-file", "-", stdin="CANARY\n")
    assert "the secret before is valid for 0 s" in rotated.out
    assert (await send(world, change(2), **signed(change(2), secret.encode()))).status == 401
    assert (await send(world, change(2), **signed(change(2), b"CANARY"))).status == 200
    outputs += [rotated, await syncd("webhooks", "show", "reg-1", "--output", "json")]
    assert not [one for one in outputs if secret in one.out + one.err or "CANARY" in one.out + one.err]


async def test_a_disabled_registration_answers_as_if_it_did_not_exist(world: World, syncd: Syncd) -> None:
    options = ("--tenant", "t1", "--integration", "github")
    assert "signed as github" in (await syncd("webhooks", "register", "reg-1", *options)).out
    assert (await syncd("webhooks", "disable", "reg-1")).out == "reg-1: disabled\n"
    assert (await send(world, change())).status == 404
    assert "disabled" in (await syncd("webhooks", "list")).out
    assert (await syncd("webhooks", "enable", "reg-1")).out == "reg-1: enabled\n"
    assert (await syncd("webhooks", "remove", "reg-1", "--yes")).code == 0
    assert (await syncd("webhooks", "show", "reg-1")).code == 1
    assert (await syncd("webhooks", "register", "reg-2")).code == 2
