"""What a connection authenticates with is read in no log, no answer, no figure and no file, whatever its system says back."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import pages, parked
from tests.acceptance.syncing import TENANT, TYPE, System, begin, config, connect, edit, entities, in_step, run, task

BEARER = "canary-3f71-of/the+bearer=="
USER, PASSWORD = "canary-user", "canary 9c2e:of the pässword"
API_KEY = "canary&5d08 of the key"

CREDENTIALS: dict[str, dict[str, str]] = {
    "bearer": {"kind": "bearer", "token": BEARER},
    "basic": {"kind": "basic", "username": USER, "password": PASSWORD},
    "header": {"kind": "api_key", "value": API_KEY, "header": "X-Key"},
    "parameter": {"kind": "api_key", "value": API_KEY, "parameter": "key"},
}


def forms() -> set[str]:
    """As they are, and as they travel."""
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    found = {BEARER, PASSWORD, API_KEY, pair}
    found |= {json.dumps(one)[1:-1] for one in found} | {quote(one) for one in found}
    return found | {quote(one, safe="") for one in found}


class Echo(System):
    """Once told to, it repeats what it was sent in whatever it answers."""

    def __init__(self) -> None:
        super().__init__(latency=0.0)
        self.says: int | None = None
        self.said = 0

    def _middleware(self) -> Callable[[web.Request, Callable[[web.Request], Awaitable[Any]]], Awaitable[Any]]:
        inner = super()._middleware()

        @web.middleware
        async def around(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            async def echoing(request: web.Request) -> web.StreamResponse:
                return await handler(request) if self.says is None else self._echo(request)

            answer: web.StreamResponse = await inner(request, echoing)
            return answer

        return around

    def _echo(self, request: web.Request) -> web.Response:
        assert self.says is not None
        self.said += 1
        what = [*(f"{name}: {value}" for name, value in request.headers.items()), str(request.rel_url)]
        what += request.query.values()
        text = f"no entry for {' | '.join(reversed(what))}"
        return web.json_response({"message": text, "error": {"message": text}, "errors": [text]}, status=self.says)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    retries = {"max_retries": "1", "retry_delays": '["10ms"]'}
    async with Daemon(tmp_path / "data", environment=config(tmp_path, sync=retries)) as daemon:
        yield daemon


@pytest.fixture
async def crm() -> AsyncIterator[Echo]:
    async with Echo().at_work() as system:
        assert isinstance(system, Echo)
        yield system


async def everything_said(daemon: Daemon) -> dict[str, bytes]:
    """All that anybody can read of it."""
    found: dict[str, bytes] = {"log": daemon.log.encode()}
    for where in ("/metrics", "/readyz", "/healthz"):
        found[where] = (await daemon.request("GET", where)).body
    lists = ["/tasks", "/results", "/connections", "/credentials", "/queues", "/jobs", "/executions", "/conflicts"]
    lists += [f"/entities/{TYPE}?tenantId={TENANT}", "/settings"]
    lists += [f"/queues/{queue}/{what}" for queue in ("sync-inbound", "sync-outbound") for what in ("peek", "parked")]
    for where in lists:
        found[where] = (await daemon.api("GET", where)).body
    for kind in ("tasks", "results", "connections"):
        for one in await pages(daemon, f"/{kind}"):
            found[one["id"]] = (await daemon.api("GET", f"/{kind}/{quote(one['id'])}")).body
    for queue in ("sync-inbound", "sync-outbound"):
        for one in await parked(daemon, queue):
            found[one["id"]] = (await daemon.api("GET", f"/queues/{queue}/parked/{quote(one['id'])}")).body
    for args in (
        ("tasks", "list"),
        ("results", "list"),
        ("queues", "parked", "sync-outbound"),
        ("connections", "list"),
    ):
        _, out, err = await daemon.cli(*args)
        found[" ".join(args)] = (out + err).encode()
    for file in daemon.data_dir.rglob("*"):
        with suppress(FileNotFoundError, IsADirectoryError):  # it runs, and files come and go
            found[str(file)] = file.read_bytes()
    return found


async def assert_silent(daemon: Daemon) -> None:
    canaries = {form.encode() for form in forms()}
    for where, said in (await everything_said(daemon)).items():
        assert not [one for one in canaries if one in said], where


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", sorted(CREDENTIALS))
async def test_a_system_that_repeats_what_it_was_sent_tells_nobody(daemon: Daemon, crm: Echo, kind: str) -> None:
    crm.fill(5)
    await connect(daemon, "crm", crm)
    (await daemon.api("PATCH", "/connections/crm", {"credential": CREDENTIALS[kind]})).ok()
    assert (await run(daemon, "crm"))["created"] == 5
    items = await entities(daemon)
    for status in (500, 400, 422, 403, 401):
        crm.says, before = status, crm.said
        pull = await begin(daemon, "crm", full=True)

        async def over(pull: str = pull) -> bool:
            return (await task(daemon, pull))["status"] not in ("pending", "queued", "running")

        await eventually(over, what=f"a pull that is answered {status}")
        (await edit(daemon, items.pop(), {"name": f"Edited for {status}"})).ok()
        await in_step(daemon)
        assert crm.said >= before + 2, "a pull and a push"
    # What it said is there, and what it must not say is not.
    assert "no entry for" in daemon.log
    assert len(await parked(daemon)) == 5
    await assert_silent(daemon)
