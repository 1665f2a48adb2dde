"""The cost trigger against a real HTTP server: what it sends, what it makes of answers, and that it never calls twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from syncd.adapters.embedded.store import Store, open_store
from syncd.adapters.http.caller import HttpCaller
from syncd.adapters.http.client import open_session
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import Conflict, Invalid
from syncd.domain.jsontypes import JsonObject
from syncd.domain.schedules import parse_schedule
from syncd.domain.secrets import Secret
from syncd.domain.times import DAY, HOUR, iso, parse
from syncd.flows.ticks import Ticks
from syncd.flows.trigger import CostTrigger, TriggerTarget, cost_trigger_job, trigger_target
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend, Kept

START = parse("2026-05-01T00:00:00")
TOKEN = "q+/8s==dGVzdC10b2tlbg"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
NIGHTLY = parse_schedule("0 0 3 * * *")


class Endpoint:
    """The remote side: `post` answers the webhook, `status` is what its status route says."""

    def __init__(self) -> None:
        self.posts: list[web.Request] = []
        self.polls: list[web.Request] = []
        self.port = 0
        self.status: JsonObject | None = None
        self.polled: Callable[[int], None] = lambda _count: None

        async def fine(_request: web.Request) -> web.Response:
            return web.json_response(
                {"status": "success", "message": "Cost sync initiated successfully", "details": {}}
            )

        self.post: Answer = fine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/finops/api/sync/"

    async def webhook(self, request: web.Request) -> web.StreamResponse:
        self.posts.append(request)
        assert await request.read() == b""
        return await self.post(request)

    async def state(self, request: web.Request) -> web.Response:
        self.polls.append(request)
        self.polled(len(self.polls))
        if self.status is None:
            return web.Response(status=404)
        return web.json_response(self.status)

    def deployed(self, *, processing: int = 0, failed: int = 0, completed: str | None = None) -> None:
        self.status = {
            "success": True,
            "stats": {"total_exports": 3, "completed": 2, "failed": failed, "processing": processing},
            "latest_export": {"import_completed_at": completed},
        }

    def answers(self, status: int, body: str = "", **headers: str) -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, text=body, headers={n.replace("_", "-"): v for n, v in headers.items()})

        self.post = answer


class World:
    def __init__(self, store: Store | Kept, clock: FrozenClock, caller: HttpCaller, endpoint: Endpoint) -> None:
        self.store = store
        self.clock = clock
        self.caller = caller
        self.endpoint = endpoint
        self.target = TriggerTarget(url=endpoint.url, token=Secret(TOKEN), user_agent="syncd/1.2.3")

    def trigger(self, **changes: object) -> CostTrigger:
        target = replace(self.target, **changes)  # type: ignore[arg-type] # fields are named by each test
        return CostTrigger(caller=self.caller, clock=self.clock, observe=ignore, target=target)

    def ticks(self, owner: str = "r1/b1", **options: object) -> Ticks:
        arguments: dict[str, object] = {"documents": self.store.documents, **options}
        return Ticks(clock=self.clock, observe=ignore, owner=owner, **arguments)  # type: ignore[arg-type] # as above

    async def night(self, trigger: CostTrigger | None = None, ticks: Ticks | None = None) -> JsonObject:
        """One 03:00 from the baseline on; the tick as it ended. Time passes by itself while the run waits for it."""
        job = cost_trigger_job(schedule=NIGHTLY, trigger=trigger or self.trigger())
        ticks = ticks or self.ticks()
        await ticks.run_next(job)
        self.clock.step_wall(3 * HOUR)
        task = asyncio.create_task(ticks.run_next(job))
        await self.drive(task)
        assert task.result()
        return await self.tick()

    async def drive(self, task: asyncio.Task[bool]) -> None:
        """Renewal and timeout sleep all along; a third sleeper is the run itself, and time may pass."""
        while not task.done():
            await asyncio.sleep(0)
            if self.clock.sleeping >= 3:
                await self.clock.advance(5)

    async def tick(self) -> JsonObject:
        [document] = (await self.ticks().requests.history("finops-daily-sync")).items
        return document.data


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(START)


@pytest.fixture
async def world(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        endpoint = Endpoint()
        app = web.Application()
        app.router.add_post("/finops/api/sync/", endpoint.webhook)
        app.router.add_get("/finops/api/sync/status/", endpoint.state)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint.port = runner.addresses[0][1]
        policy = OutgoingPolicy.of(loopback=True)
        session = await stack.enter_async_context(open_session(policy=policy))
        caller = HttpCaller(session=session, policy=policy, clock=clock, observe=ignore, user_agent="syncd/test")
        store = await stack.enter_async_context(open_store(tmp_path, clock=clock, durable=False))
        yield World(store, clock, caller, endpoint)


async def test_it_posts_nothing_but_the_token_and_its_name(world: World) -> None:
    tick = await world.night()
    [request] = world.endpoint.posts
    assert request.headers["X-Sync-Token"] == TOKEN
    assert request.headers["User-Agent"] == "syncd/1.2.3"
    assert request.headers["Content-Length"] == "0"
    assert all("X-Sync-Token" not in poll.headers for poll in world.endpoint.polls)
    assert tick["status"] == "succeeded"
    assert tick["evidence"]["call"]["status"] == 200
    assert "initiated successfully" in tick["evidence"]["call"]["answer"]
    assert tick["evidence"]["call"]["target"] == world.endpoint.url
    assert TOKEN not in json.dumps(tick)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, "<html>Sign in</html>", "without a JSON object"),
        (200, "", "without a JSON object"),
        (200, '{"success": false, "error": "Sync token not configured on server"}', "not configured"),
        (401, '{"detail": "no"}', "SECRET_SYNC_TOKEN"),
        (403, '{"success": false, "error": "Invalid sync token"}', "SECRET_SYNC_TOKEN"),
        (404, "nothing here", "answered 404"),
    ],
)
async def test_an_answer_that_is_not_the_documented_success_is_a_failure_with_its_beginning_kept(
    world: World, status: int, body: str, reason: str
) -> None:
    world.endpoint.answers(status, body)
    tick = await world.night()
    assert tick["status"] == "failed"
    assert reason in tick["reason"]
    assert tick["evidence"]["call"]["answer"] == body
    assert len(world.endpoint.posts) == 1


async def test_a_redirect_to_another_host_is_a_failure_and_never_gets_the_token(world: World) -> None:
    world.endpoint.answers(302, location="http://127.0.0.2:1/login")
    tick = await world.night()
    assert tick["status"] == "failed"
    assert "redirected to 127.0.0.2:1, not followed" in tick["reason"]
    assert tick["evidence"]["mustAct"] == "tenant"
    assert len(world.endpoint.posts) == 1


async def test_a_server_that_repeats_the_token_does_not_get_it_into_the_record(world: World) -> None:
    world.endpoint.answers(200, json.dumps({"success": False, "error": f"bad token {TOKEN}"}))
    tick = await world.night()
    assert tick["status"] == "failed"
    assert "bad token ***" in tick["reason"]
    assert TOKEN not in json.dumps(tick)
    for execution in (await world.ticks().executions.latest()).items:
        assert TOKEN not in json.dumps(execution.data)


async def test_504_then_finished_is_a_success_by_the_status_route_without_a_second_call(world: World) -> None:
    endpoint = world.endpoint
    endpoint.deployed(completed=iso(START - DAY))
    endpoint.answers(504, "<html>Gateway Time-out</html>")

    def import_goes_on(count: int) -> None:
        if count == 2:
            endpoint.deployed(processing=2, completed=iso(START - DAY))
        if count == 12:
            endpoint.deployed(completed=iso(world.clock.now()))

    endpoint.polled = import_goes_on
    tick = await world.night()
    assert tick["status"] == "succeeded"
    assert "answered 504" in tick["reason"]
    assert "completed at" in tick["reason"]
    assert len(endpoint.posts) == 1
    assert tick["evidence"]["settled"]["polls"] == 11
    assert world.clock.now() - START - 3 * HOUR == pytest.approx(10 * 30, abs=10)


async def test_504_then_a_failed_import_is_a_failure_by_the_status_route(world: World) -> None:
    endpoint = world.endpoint
    endpoint.deployed(failed=4, completed=iso(START - DAY))
    endpoint.answers(504)
    endpoint.polled = lambda count: endpoint.deployed(failed=5, completed=iso(START - DAY)) if count == 3 else None
    tick = await world.night()
    assert tick["status"] == "failed"
    assert "5 failed imports, 4 before" in tick["reason"]
    assert len(endpoint.posts) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"status": "ok", "message": "Webhook endpoint is operational"}, "lives, and does not say"),
        (None, "does not answer"),
    ],
)
async def test_an_outcome_that_nobody_can_tell_stays_unknown_after_the_settle_time(
    world: World, status: JsonObject | None, said: str
) -> None:
    world.endpoint.answers(500)
    world.endpoint.status = status
    tick = await world.night(world.trigger(settle_timeout=600.0))
    assert tick["status"] == "unknown"
    assert said in tick["reason"]
    assert len(world.endpoint.posts) == 1
    assert world.clock.now() - START - 3 * HOUR == pytest.approx(600, abs=40)
    with pytest.raises(Conflict):
        await world.ticks().requests.request_run(
            cost_trigger_job(schedule=NIGHTLY, trigger=world.trigger()), START + 3 * HOUR
        )


async def test_a_connection_that_is_cut_after_the_request_is_unknown_and_not_repeated(world: World) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    world.endpoint.post = cut
    tick = await world.night(world.trigger(settle_timeout=60.0))
    assert tick["status"] == "unknown"
    assert len(world.endpoint.posts) == 1


async def test_an_answer_that_does_not_come_in_time_is_unknown_and_not_repeated(world: World) -> None:
    async def slow(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    world.endpoint.post = slow
    tick = await world.night(world.trigger(timeout=1.0, settle_timeout=60.0))
    assert tick["status"] == "unknown"
    assert "in time" in tick["reason"]
    assert len(world.endpoint.posts) == 1


async def test_a_refused_connection_is_tried_again_a_few_times_and_then_failed(world: World) -> None:
    unused = world.endpoint.url.replace(f":{world.endpoint.port}/", ":1/")
    tick = await world.night(world.trigger(url=unused))
    assert tick["status"] == "failed"
    assert "given up after 4 attempts" in tick["reason"]
    assert tick["sentAt"] is None
    assert world.clock.now() - START - 3 * HOUR == pytest.approx(1 + 5 + 25, abs=15)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_says_when_to_come_back_is_asked_then(world: World, status: int) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        if len(world.endpoint.posts) < 3:
            return web.Response(status=status, headers={"Retry-After": "60"})
        return web.json_response({"success": True})

    world.endpoint.post = busy
    tick = await world.night()
    assert tick["status"] == "succeeded"
    assert tick["evidence"]["call"]["attempts"] == 3
    assert world.clock.now() - START - 3 * HOUR == pytest.approx(120, abs=10)


async def test_a_server_that_wants_more_than_the_bound_allows_is_a_failure(world: World) -> None:
    world.endpoint.answers(429, retry_after="601")
    tick = await world.night()
    assert tick["status"] == "failed"
    assert "beyond the bound of 600 s" in tick["reason"]
    assert len(world.endpoint.posts) == 1


async def test_a_url_that_must_not_be_called_is_a_failure_that_names_the_variable(world: World) -> None:
    tick = await world.night(world.trigger(url="http://sync.example/finops/"))
    assert tick["status"] == "failed"
    assert "DJANGO_WEBHOOK_URL" in tick["reason"]
    assert "https://" in tick["reason"]


async def test_a_runner_that_dies_after_the_call_leaves_it_to_the_next_to_ask_and_not_to_call(
    world: World, clock: FrozenClock
) -> None:
    endpoint = world.endpoint
    endpoint.deployed(completed=iso(START - DAY))
    reached = asyncio.Event()

    async def held(_request: web.Request) -> web.StreamResponse:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.post = held
    job = cost_trigger_job(schedule=NIGHTLY, trigger=world.trigger())
    dying, heir = world.ticks("r1/b1", alone=True), world.ticks("r1/b2", alone=True)
    await dying.run_next(job)
    clock.step_wall(3 * HOUR)
    task = asyncio.create_task(dying.run_next(job))
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert not await heir.run_next(job), "the lease that guards a call is waited out"
    clock.step_wall(91)
    endpoint.deployed(completed=iso(clock.now()))
    assert await heir.run_next(job)
    tick = await world.tick()
    assert (tick["status"], tick["term"]) == ("succeeded", 2)
    assert "died before it knew" in tick["reason"]
    assert len(endpoint.posts) == 1


async def test_a_missed_night_is_made_up_for_once_within_twelve_hours(world: World, clock: FrozenClock) -> None:
    job = cost_trigger_job(schedule=NIGHTLY, trigger=world.trigger())
    await world.ticks().run_next(job)
    clock.step_wall(14 * HOUR)
    assert await world.ticks("r1/b2").run_next(job)
    assert (await world.tick())["trigger"] == "missed"
    clock.step_wall(25.5 * HOUR)  # 15:30 on the next day: 03:00 is too long ago
    assert not await world.ticks("r1/b3").run_next(job)
    assert len(world.endpoint.posts) == 1


async def test_while_it_is_disabled_it_needs_nothing_runs_nothing_and_refuses_with_the_reason(
    world: World, clock: FrozenClock
) -> None:
    job = cost_trigger_job(schedule=NIGHTLY, trigger=None)
    ticks = world.ticks()
    for _ in range(3):
        assert not await ticks.run_next(job)
        clock.step_wall(DAY)
    with pytest.raises(Invalid, match="FINOPS_SYNC_ENABLED"):
        await ticks.requests.request_run(job)


@pytest.mark.parametrize(
    ("url", "token", "names"),
    [
        (None, Secret("x"), ["DJANGO_WEBHOOK_URL"]),
        ("https://x.example/", None, ["SECRET_SYNC_TOKEN"]),
        ("", Secret(""), ["DJANGO_WEBHOOK_URL", "SECRET_SYNC_TOKEN"]),
    ],
)
def test_an_enabled_trigger_names_every_variable_that_is_missing(
    url: str | None, token: Secret | None, names: list[str]
) -> None:
    with pytest.raises(Invalid) as caught:
        trigger_target(url=url, token=token, user_agent="syncd/1")
    assert list(caught.value.errors) == names
    assert all(name in str(caught.value) for name in names)


async def test_it_calls_at_most_once_whatever_port_call_it_crashes_at(
    world: World, tmp_path: Path, backend: Backend
) -> None:
    endpoint = world.endpoint
    worlds = 0

    async def scenario(crash: CrashAt) -> None:
        nonlocal worlds
        worlds += 1
        endpoint.posts.clear()
        endpoint.polls.clear()
        endpoint.deployed(completed=iso(START - DAY))

        async def imports(_request: web.Request) -> web.Response:
            endpoint.deployed(completed=iso(START + 4 * HOUR))
            return web.json_response({"success": True, "message": "Cost sync completed successfully"})

        endpoint.post = imports
        clock = FrozenClock(START)
        directory = tmp_path / str(worlds)
        await asyncio.to_thread(directory.mkdir)
        async with backend.opened(directory, clock, crash) as kept:
            doomed_world = World(kept, clock, crash.wrap("caller", world.caller), endpoint)
            doomed = doomed_world.ticks("r1/b1")
            job = cost_trigger_job(schedule=NIGHTLY, trigger=doomed_world.trigger(settle_timeout=60.0))
            try:
                await doomed.run_next(job)
                clock.step_wall(3 * HOUR)
                await doomed.run_next(job)
            except Crash:
                pass
        async with backend.opened(directory, clock, CrashAt()) as kept:
            heir_world = World(kept, clock, world.caller, endpoint)
            heir = heir_world.ticks("r1/b2", alone=True)
            job = cost_trigger_job(schedule=NIGHTLY, trigger=heir_world.trigger(settle_timeout=60.0))
            if clock.now() == START:
                await heir.run_next(job)
                clock.step_wall(3 * HOUR)
            clock.step_wall(91)
            task = asyncio.create_task(heir.run_next(job))
            await heir_world.drive(task)
            tick = await heir_world.tick()
            assert len(endpoint.posts) <= 1
            # It succeeded, or it died between the mark and the call, and then nobody may claim a success.
            assert tick["status"] == ("succeeded" if endpoint.posts else "unknown")

    await backend.at_port_calls(scenario, more_than=15)
