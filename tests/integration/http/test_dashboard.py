"""The dashboard: logging in and out, what it shows, and what it must not let happen."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest

from syncd.domain.errors import Unavailable
from syncd.http.auth import SESSION_LIFETIME, Tokens
from syncd.ports.control import Component, Health
from tests.integration.http.world import ADMIN, READER, TENANT_1, Answer, World

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def log_in(world: World, token: str = ADMIN) -> Answer:
    return await world.ask("POST", "/login", data=f"token={token}".encode(), headers=FORM, token=None)


async def cookie(world: World, token: str = ADMIN) -> dict[str, str]:
    answer = await log_in(world, token)
    value = SimpleCookie(answer.headers["Set-Cookie"])["syncd_session"].value
    return {"Cookie": f"syncd_session={value}"}


async def look(world: World, headers: dict[str, str]) -> Answer:
    return await world.ask("GET", "/", headers=headers, token=None)


async def test_without_a_session_one_is_sent_to_the_log_in_page(world: World) -> None:
    answer = await look(world, {})
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    page = await world.ask("GET", "/login", token=None)
    assert page.status == 200
    assert 'type="password"' in page.text


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(world: World) -> None:
    answer = await log_in(world)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    morsel = SimpleCookie(answer.headers["Set-Cookie"])["syncd_session"]
    assert morsel["httponly"]
    assert morsel["samesite"] == "Strict"
    assert ADMIN not in answer.headers["Set-Cookie"]


async def test_a_wrong_token_is_401_and_a_flood_of_them_429(world: World) -> None:
    statuses = [(await log_in(world, f"guess-{n}")).status for n in range(11)]
    assert statuses == [401] * 10 + [429]
    assert (await log_in(world)).status == 429


async def test_the_page_shows_health_queues_jobs_and_runs(world: World) -> None:
    page = (await look(world, await cookie(world))).text
    for text in ("blobs", "degraded", "sync-outbound", "finops-daily-sync", "0 0 3 * * *", "Nothing has run yet"):
        assert text in page


async def test_nothing_on_the_page_is_taken_for_markup(world: World) -> None:
    world.control.reported = Health(
        live=True,
        ready=True,
        phase="running",
        version="1",
        generation=1,
        roles=(),
        components=(Component("<script>alert(1)</script>", "failed", '"><img src=x onerror=alert(1)>'),),
    )
    page = (await look(world, await cookie(world))).text
    assert "<script>alert" not in page
    assert "<img" not in page


async def test_the_page_may_load_and_run_nothing_but_its_own(world: World) -> None:
    answer = await look(world, await cookie(world))
    policy = answer.headers["Content-Security-Policy"]
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.text.count("<script") == answer.text.count(f'<script nonce="{nonce}"') == 1
    assert answer.text.count("<style") == answer.text.count(f'<style nonce="{nonce}"') == 1
    assert "style=" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert nonce not in (await look(world, await cookie(world))).text


async def test_a_part_that_cannot_be_read_does_not_take_the_page_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await cookie(world)

    async def away(name: str) -> None:
        raise Unavailable("the store is away")

    monkeypatch.setattr(world.ticks.requests, "book", away)
    answer = await look(world, headers)
    assert answer.status == 200
    assert "Cannot be read now: the store is away" in answer.text
    assert "sync-outbound" in answer.text


async def test_a_token_of_one_tenant_sees_health_and_is_told_what_it_does_not_see(world: World) -> None:
    page = (await look(world, await cookie(world, TENANT_1))).text
    assert "limited to tenants" in page
    assert "finops-daily-sync" not in page


async def test_a_session_may_look_at_the_api_and_change_nothing(world: World) -> None:
    headers = await cookie(world)
    assert (await world.api("GET", "/connections", headers=headers, token=None)).status == 200
    forged = await world.api("POST", "/jobs/finops-daily-sync/run", {}, headers=headers, token=None)
    assert forged.status == 401
    assert not await world.ticks.run_next(world.job), "nothing was made due"


async def test_a_session_ends_with_a_log_out_with_its_time_and_with_its_token(world: World) -> None:
    headers = await cookie(world)
    assert (await look(world, headers)).status == 200
    await world.ask("POST", "/logout", headers=headers, token=None)
    assert (await look(world, headers)).status == 303

    headers = await cookie(world)
    await world.clock.advance(SESSION_LIFETIME + 1)
    assert (await look(world, headers)).status == 303

    headers = await cookie(world, READER)
    world.change(tokens=Tokens([]))
    assert (await look(world, headers)).status == 303


async def test_a_made_up_cookie_opens_nothing(world: World) -> None:
    assert (await look(world, {"Cookie": "syncd_session=x; syncd_session=y"})).status == 303


async def test_a_form_far_too_large_is_413(world: World) -> None:
    answer = await world.ask("POST", "/login", data=b"token=" + b"x" * 100_000, headers=FORM, token=None)
    assert answer.status == 413
