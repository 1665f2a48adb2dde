"""The daily cost trigger in the real daemon against a real HTTP server, with nothing configured but what the function had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from syncd.domain.jsontypes import JsonObject
from syncd.domain.times import iso, parse
from syncd.flows.leasedrun import LEASE
from tests.acceptance.cost_server import CostServer, always, held, in_turn, serving
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import logged, pages
from tests.acceptance.services import services_of
from tests.shims.clockshift import ClockShift

JOB = "finops-daily-sync"
HOUR = 3600
TOKEN = "pa+ss/word==acceptance"
SUCCESS: JsonObject = {"status": "success", "message": "Cost sync initiated successfully", "details": {"rows": 12}}
#: The shortest that settings allow, so that a test does not wait for half a minute.
OFTEN = {"SYNCD_FINOPS__SETTLE_INTERVAL": "1s"}
BRIEFLY = {**OFTEN, "SYNCD_FINOPS__SETTLE_TIMEOUT": "3s"}


def daemon_for(server: CostServer, tmp_path: Path, environment: Mapping[str, str] | None = None) -> Daemon:
    return Daemon(
        tmp_path / "data",
        args=["--role", "finops"],
        environment={
            "DJANGO_WEBHOOK_URL": server.url,
            "SECRET_SYNC_TOKEN": TOKEN,
            "FINOPS_SYNC_ENABLED": "true",
            **(environment or {}),
        },
    )


async def run_job(daemon: Daemon) -> JsonObject:
    """Ask for a run and wait for its record."""
    identifier = (await daemon.api("POST", f"/jobs/{JOB}/run")).ok()["executionId"]
    return await execution(daemon, identifier)


async def execution(daemon: Daemon, identifier: str) -> JsonObject:
    found: JsonObject = {}

    async def ended() -> bool:
        answer = await daemon.api("GET", f"/executions/{identifier}")
        found.clear()
        found.update(answer.ok())
        return found["status"] not in ("due", "running")

    await eventually(ended, what=f"the end of {identifier}")
    return found


@asynccontextmanager
async def triggering(
    server: CostServer, tmp_path: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Daemon]:
    async with daemon_for(server, tmp_path, environment) as daemon:
        yield daemon
        assert daemon.running
        assert TOKEN not in daemon.log


async def test_it_calls_once_with_the_raw_token_and_the_run_is_in_the_history(tmp_path: Path) -> None:
    async with serving(always(200, SUCCESS)) as server, triggering(server, tmp_path) as daemon:
        ready = (await daemon.request("GET", "/readyz")).json()
        assert ready["roles"] == ["finops"]
        done = await run_job(daemon)
        assert (done["status"], done["reason"], done["job"]) == ("succeeded", "answered 200", JOB)
        [post] = server.posts
        assert post.headers["X-Sync-Token"] == TOKEN
        assert "Authorization" not in post.headers
        assert post.headers["User-Agent"].startswith("syncd/")
        assert done["evidence"]["call"]["target"] == server.url
        assert TOKEN not in str(done)
        [tick] = await pages(daemon, f"/jobs/{JOB}/history")
        assert (tick["status"], tick["trigger"], tick["executionId"]) == ("succeeded", "manual", done["id"])
        assert tick["by"] == "admin"
        shown = (await daemon.api("GET", f"/jobs/{JOB}")).ok()
        assert shown["lastRun"]["status"] == "succeeded"
        assert shown["nextAt"].endswith("T03:00:00.000Z")
        assert done["id"] in [one["id"] for one in await pages(daemon, "/executions")]
        assert all("X-Sync-Token" not in one.headers for one in server.seen if one.method == "GET")


async def test_a_gateway_timeout_is_settled_by_the_status_route_and_never_called_again(tmp_path: Path) -> None:
    """As deployed: the front end gives up after a while, the import runs on, and the status route tells of its end."""
    async with serving(always(504, "<html>Gateway Time-out</html>")) as server:
        server.status = {
            "success": True,
            "stats": {"processing": 0, "failed": 2},
            "latest_export": {"import_completed_at": "2026-01-01T03:04:05Z"},
        }
        async with triggering(server, tmp_path, OFTEN) as daemon:
            identifier = (await daemon.api("POST", f"/jobs/{JOB}/run")).ok()["executionId"]

            async def asked_again() -> bool:
                return len(server.posts) == 1 and server.polls >= 3

            server.status = {**server.status, "stats": {"processing": 1, "failed": 2}}
            await eventually(asked_again, what="a question while the import is running")
            running = (await daemon.api("GET", f"/executions/{identifier}")).ok()
            assert running["status"] == "running"
            completed = iso(time.time() + 1)
            server.status = {
                "success": True,
                "stats": {"processing": 0, "failed": 2},
                "latest_export": {"import_completed_at": completed},
            }
            done = await execution(daemon, identifier)
        assert done["status"] == "succeeded", done
        assert "answered 504" in done["reason"]
        assert completed in done["reason"]
        assert done["evidence"]["settled"]["polls"] >= 2
        assert len(server.posts) == 1


async def test_killed_in_the_middle_of_the_call_it_never_calls_again_and_the_status_route_settles_it(
    tmp_path: Path,
) -> None:
    """Three o'clock, and the lease that is waited out because the dead runner's call may be on its way: both by setting the clock."""
    clock = shifted(tmp_path)
    answering = asyncio.Event()
    counts = {"success": True, "stats": {"processing": 0, "failed": 2}}
    async with serving(held(answering, always(200, SUCCESS))) as server:
        server.status = {**counts, "latest_export": {"import_completed_at": "2026-01-01T03:04:05Z"}}
        async with triggering(server, tmp_path, {**OFTEN, **clock.environment}) as daemon:

            async def adopted() -> bool:
                return any(line["job"] == JOB for line in logged(daemon, "job_adopted"))

            async def called() -> bool:
                return bool(server.posts)

            await eventually(adopted, what="the beginning of its schedule")
            ahead = int((3 * 3600 - time.time()) % 86_400) + 1
            await looked_at(daemon, clock, ahead)
            await eventually(called, what="the call")
            before = await only_tick(daemon)
            await daemon.kill9()
            answering.set()
            completed = iso(time.time() + ahead + 1)
            server.status = {**counts, "latest_export": {"import_completed_at": completed}}
            polls = server.polls
            await daemon.start()
            await looked_at(daemon, clock, ahead)
            now = await only_tick(daemon)
            assert (now["status"], now["term"], now["sentAt"]) == ("running", 1, before["sentAt"]), "the lease holds"
            assert (len(server.posts), server.polls) == (1, polls)

            await looked_at(daemon, clock, ahead + int(LEASE) + 1)

            async def ended() -> bool:
                return bool((await only_tick(daemon))["status"] != "running")

            await eventually(ended, what="the end of the tick")
            tick = await only_tick(daemon)
            assert (tick["id"], tick["status"], tick["term"]) == (before["id"], "succeeded", 2)
            assert tick["sentAt"] == before["sentAt"]
            died, done = await execution(daemon, before["executionId"]), await execution(daemon, tick["executionId"])
            assert "its runner died" in died["reason"]
            assert parse(done["startedAt"]) - parse(died["startedAt"]) >= LEASE
            assert done["reason"].startswith("an earlier runner called at")
            assert completed in done["reason"]
            assert done["evidence"]["call"] == {"sentAt": before["sentAt"], "repeated": False}
            assert len(server.posts) == 1


def shifted(tmp_path: Path) -> ClockShift:
    """The clock of the daemon and of its services."""
    clock = ClockShift(tmp_path / "clock")
    services_of(tmp_path / "data", environment=clock.environment)
    return clock


async def only_tick(daemon: Daemon) -> JsonObject:
    [tick] = await pages(daemon, f"/jobs/{JOB}/history")
    return tick


async def looked_at(daemon: Daemon, clock: ClockShift, ahead: int) -> None:
    """Set the clock and have every job looked at by it, which a reload does."""
    before = len(logged(daemon, "reload_ok"))
    clock.set(ahead)
    daemon.hup()

    async def reloaded() -> bool:
        return len(logged(daemon, "reload_ok")) > before

    await eventually(reloaded, what="a reload")


async def test_an_import_that_failed_behind_a_gateway_timeout_is_failed(tmp_path: Path) -> None:
    async with serving(always(504, "")) as server:
        server.status = {"success": True, "stats": {"processing": 0, "failed": 2}}

        async def fails_meanwhile() -> bool:
            if server.posts:
                server.status = {"success": True, "stats": {"processing": 0, "failed": 3}}
            return bool(server.posts)

        async with triggering(server, tmp_path, OFTEN) as daemon:
            identifier = (await daemon.api("POST", f"/jobs/{JOB}/run")).ok()["executionId"]
            await eventually(fails_meanwhile)
            done = await execution(daemon, identifier)
        assert (done["status"], len(server.posts)) == ("failed", 1)
        assert "3 failed imports, 2 before" in done["reason"]


async def test_an_outcome_that_nobody_can_tell_is_unknown_and_says_so(tmp_path: Path) -> None:
    """The documented status route only says that it lives."""
    async with serving(always(504, "")) as server, triggering(server, tmp_path, BRIEFLY) as daemon:
        done = await run_job(daemon)
        assert (done["status"], len(server.posts)) == ("unknown", 1)
        assert "answered 504" in done["reason"]
        assert "not repeated by itself" in done["reason"]
        [tick] = await pages(daemon, f"/jobs/{JOB}/history")
        assert tick["status"] == "unknown"
        assert tick["sentAt"], "so that no runner ever calls for this tick again"


async def test_a_redirect_to_another_host_is_not_followed_and_the_token_never_arrives_there(tmp_path: Path) -> None:
    async with serving(always(200, SUCCESS), host="localhost") as elsewhere:
        async with serving(always(200, SUCCESS)) as server, triggering(server, tmp_path) as daemon:
            for number, status in enumerate((302, 307, 308), 1):
                server.answer = always(status, "", Location=elsewhere.url)
                done = await run_job(daemon)
                assert (done["status"], len(server.posts)) == ("failed", number), done
                assert f"redirected to localhost:{elsewhere.port}, not followed" in done["reason"]
                assert done["evidence"]["mustAct"] == "tenant"
        assert elsewhere.seen == []


NO_SUCCESS = {
    "401": (always(401, {"error": f"Invalid token {TOKEN}"}), "SECRET_SYNC_TOKEN must be the same on both sides"),
    "garbage": (always(200, "<html>Welcome to nginx!</html>"), "this is not the sync endpoint"),
    "says success false": (always(200, {"success": False, "message": "no export"}), "success is false (no export)"),
    "says status error": (always(200, {"status": "error", "message": "no export"}), 'status is "error" (no export)'),
    "404": (always(404, "gone"), "answered 404"),
}


async def test_an_answer_that_is_not_the_documented_success_is_failed_and_says_why(tmp_path: Path) -> None:
    async with serving(always(200, SUCCESS)) as server, triggering(server, tmp_path) as daemon:
        for number, (name, (answer, words)) in enumerate(NO_SUCCESS.items(), 1):
            server.answer = answer
            done = await run_job(daemon)
            assert (done["status"], len(server.posts)) == ("failed", number), (name, done)
            assert words in done["reason"], name
            assert TOKEN not in str(done), "also where the server repeats it"

            async def told(lines: int = number) -> bool:
                return len(lines_of_the_job(daemon)) == lines

            await eventually(told, what="the line in the log")
            line = lines_of_the_job(daemon)[-1]
            assert words in line["reason"], "an operator finds it there"
            assert line["level"] == "warning"


def lines_of_the_job(daemon: Daemon) -> list[JsonObject]:
    return [line for line in logged(daemon, "job_ended") if line["job"] == JOB]


async def test_a_server_that_says_when_to_come_back_is_called_again_then(tmp_path: Path) -> None:
    busy = always(503, "busy", Retry_After="1")
    async with serving(in_turn(busy, busy, always(200, SUCCESS))) as server, triggering(server, tmp_path) as daemon:
        done = await run_job(daemon)
        assert (done["status"], len(server.posts)) == ("succeeded", 3)
        assert done["evidence"]["call"]["attempts"] == 3


async def test_switched_off_it_refuses_to_run_and_says_by_what(tmp_path: Path) -> None:
    async with serving(always(200, SUCCESS)) as server:
        async with triggering(server, tmp_path, {"FINOPS_SYNC_ENABLED": "0"}) as daemon:
            answer = await daemon.api("POST", f"/jobs/{JOB}/run")
            assert answer.status == 400
            assert "FINOPS_SYNC_ENABLED" in answer.json()["detail"]
        assert server.seen == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SECRET_SYNC_TOKEN": ""}, "SECRET_SYNC_TOKEN"),
        ({"DJANGO_WEBHOOK_URL": ""}, "DJANGO_WEBHOOK_URL"),
        ({"FINOPS_SYNC_ENABLED": "perhaps"}, "FINOPS_SYNC_ENABLED"),
        ({"DJANGO_WEBHOOK_URL": "http://costs.example.com/finops/api/sync/"}, "DJANGO_WEBHOOK_URL"),
    ],
    ids=["no token", "no address", "neither on nor off", "in clear over a network"],
)
async def test_what_cannot_work_ends_the_start_with_78_and_one_clear_message(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    async with serving(always(200, SUCCESS)) as server:
        daemon = daemon_for(server, tmp_path, environment)
        assert await daemon.run_to_end() == 78, daemon.log
        assert words in daemon.log
        assert "Traceback" not in daemon.log
        assert TOKEN not in daemon.log


async def test_runs_missed_while_it_was_down_are_made_up_for_once(tmp_path: Path) -> None:
    config = tmp_path / "syncd.toml"
    config.write_text('[jobs.finops-daily-sync]\nschedule = "0 * * * *"\n')
    clock = shifted(tmp_path)
    async with serving(always(200, SUCCESS)) as server:
        daemon = daemon_for(server, tmp_path, clock.environment)
        daemon.args += ["--config", str(config)]
        async with daemon:

            async def adopted() -> bool:
                return any(line["job"] == JOB for line in logged(daemon, "job_adopted"))

            async def ran(runs: int) -> bool:
                ticks = await pages(daemon, f"/jobs/{JOB}/history")
                return [tick["status"] for tick in ticks].count("succeeded") == runs

            await eventually(adopted, what="the beginning of its schedule")
            ahead = int(HOUR - time.time() % HOUR) + 1
            await looked_at(daemon, clock, ahead)
            await eventually(lambda: ran(1), what="the first run")
            assert await daemon.terminate() == 0
            clock.set(ahead + 3 * HOUR + 600)
            await daemon.start()
            await eventually(lambda: ran(2), what="the run after the outage")
            made_up_for, missed, first = await pages(daemon, f"/jobs/{JOB}/history")
        assert [tick["trigger"] for tick in (first, made_up_for)] == ["schedule", "missed"]
        assert (missed["status"], missed["passed"]) == ("missed", 2)
        assert "nothing ran at that time" in missed["reason"]
        at = [parse(tick["at"]) for tick in (first, missed, made_up_for)]
        assert [moment - at[0] for moment in at] == [0, 2 * HOUR, 3 * HOUR], (
            "the latest of those that were missed is run"
        )
        assert len(server.posts) == 2
