"""Two systems of made-up customers, and what an operator does with a daemon that keeps them in step.

async with System() as crm, System() as mail, Daemon(tmp_path / "data", environment=config(tmp_path)) as daemon:
    await connect(daemon, "crm", crm)
    await connect(daemon, "mail", mail, "push")
    result = await run(daemon, "crm", "pull")
    await in_step(daemon)

The systems run in the test's own process and outlive every daemon: their memory and their logs are what the daemon is judged by.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Answer, Daemon, eventually
from tests.acceptance.reading import pages
from tests.acceptance.services import patience
from tests.doubles.contract import Seen
from tests.doubles.rest import DOUBLES, Manners, RestDouble

TENANT = "tenant-1"
TYPE = "contact"
#: What connections authenticate with, unless a test says otherwise.
CREDENTIAL = "token-of-the-connection"
HOOK_SECRET = "a webhook secret of the test"
ENDED = ("succeeded", "partial", "failed", "cancelled")
#: Of results, those that say what became of a record. Together they are `fetched`.
OUTCOMES = ("created", "updated", "unchanged", "deleted", "duplicates", "failed")
#: More calls per minute than any test makes.
UNLIMITED = 10_000_000


def config(
    directory: Path,
    *,
    sync: Mapping[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
    more: str = "",
) -> dict[str, str]:
    """The environment of a daemon with these settings, in a file. Without `limits` no limit is met.

    The directory outlives the process: with a broker too busy to answer within `webhooks.enqueue_timeout`, events go to the spool."""
    figures = {"tenant": UNLIMITED, "integration": UNLIMITED, **(limits or {})}
    operations = {name: figures.pop(name, UNLIMITED) for name in ("create", "update", "delete", "fetch")}
    file = directory / "syncd.toml"
    lines = ["[limits]", *(f"{name} = {value}" for name, value in figures.items())]
    lines.append(f"operations = {{ {', '.join(f'{name} = {value}' for name, value in operations.items())} }}")
    lines += ["[sync]", *(f"{name} = {value}" for name, value in (sync or {}).items()), more]
    file.write_text("\n".join(lines) + "\n")
    return {"SYNCD_CONFIG": str(file), "SYNCD_DAEMON__DATA_DIR_DURABLE": "true"}


@dataclass(eq=False)
class Gate:
    """The next request that `matches` stands still until the gate is opened."""

    matches: Callable[[web.Request], bool]
    after: bool
    """It has had its effect; only its answer stands still."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Gate:
        async with asyncio.timeout(30):
            await self.reached.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.opened.set()


class System(RestDouble):
    """A system whose requests take `latency` seconds on average, half of it before their effect and half after; its clock is ours."""

    def __init__(self, style: str = "page", *, latency: float = 0.0, draw: random.Random | None = None) -> None:
        super().__init__(manners(style))
        self.latency = latency
        self.draw = draw or random.Random(1)
        self.arrivals: list[tuple[float, str]] = []
        """time.monotonic() and method of each request, as it came."""
        self._gates: list[Gate] = []

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[System]:
        self.now = time.time()
        async with self.serving():
            try:
                yield self
            finally:
                for gate in self._gates:
                    gate.opened.set()

    def settings(self) -> JsonObject:
        """Its own addresses of its objects are no content: two systems would never agree on them."""
        found = super().settings()
        described = {name: value for name, value in found["types"][TYPE].items() if name != "readOnly"}
        if "fields" not in described:
            described["leaveOut"] = ["url"]
        return {**found, "types": {TYPE: described}}

    def fill(self, count: int) -> None:
        for number in range(count):
            self.put(TYPE, number)

    def gate(self, matches: Callable[[web.Request], bool], *, after: bool = False) -> Gate:
        gate = Gate(matches, after)
        self._gates.append(gate)
        return gate

    def gate_page(self, number: int) -> Gate:
        return self.gate(lambda request: request.method == "GET" and request.query.get("page") == str(number))

    def gate_write(self, *, after: bool = False) -> Gate:
        return self.gate(lambda request: request.method != "GET", after=after)

    def contents(self) -> dict[str, JsonObject]:
        """By name of the person, which no two have."""
        held = [self.held(TYPE, one) or {} for one in self.ids(TYPE)]
        assert len({one["name"] for one in held}) == len(held), "somebody is there twice"
        return {one["name"]: one for one in held}

    def writes(self, *methods: str) -> list[Seen]:
        return [one for one in self.log if (one.method in methods if methods else one.method != "GET")]

    def made(self) -> Counter[str]:
        """How many objects each key made."""
        return Counter(one.key or "" for one in self.contacts.values())

    def edit_now(self, external_id: str, changes: JsonObject) -> None:
        self.now = time.time()
        self.edit(TYPE, external_id, changes)

    def _middleware(self) -> Callable[[web.Request, Callable[[web.Request], Awaitable[Any]]], Awaitable[Any]]:
        inner = super()._middleware()

        @web.middleware
        async def paced(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.arrivals.append((time.monotonic(), request.method))

            async def slowly(request: web.Request) -> web.StreamResponse:
                await self._pass(request, after=False)
                answer = await handler(request)
                await self._pass(request, after=True)
                return answer

            answer: web.StreamResponse = await inner(request, slowly)
            return answer

        return paced

    async def _pass(self, request: web.Request, *, after: bool) -> None:
        found = next((one for one in self._gates if one.after == after and one.matches(request)), None)
        if found is not None:
            self._gates.remove(found)
            found.reached.set()
            await found.opened.wait()
        if self.latency:
            await asyncio.sleep(self.latency * self.draw.random())  # how slow it is belongs to what it is


# -- what an operator does --


async def connect(
    daemon: Daemon, identifier: str, system: System, direction: str = "both", *, token: str = CREDENTIAL, **rules: Any
) -> None:
    body = {
        "id": identifier,
        "tenantId": TENANT,
        "integrationId": "rest",
        "settings": system.settings(),
        "credential": {"kind": "bearer", "token": token},
        "entities": {TYPE: {"direction": direction, **rules}},
    }
    (await daemon.api("POST", "/connections", body)).ok()


async def begin(daemon: Daemon, connection: str, mode: str = "pull", **more: Any) -> str:
    """Make a task; its id."""
    body = {"integrationId": "rest", "tenantId": TENANT, "connectionId": connection, "syncMode": mode, **more}
    made = (await daemon.api("POST", "/tasks", body)).ok()
    assert made["status"] == "pending"
    return str(made["id"])


async def task(daemon: Daemon, identifier: str) -> JsonObject:
    return (await daemon.api("GET", f"/tasks/{quote(identifier)}")).ok()


async def ended(daemon: Daemon, identifier: str, *, within: float = 60.0) -> JsonObject:
    """The result of a task, once it has ended."""
    found: JsonObject = {}

    async def over() -> bool:
        found.update(await task(daemon, identifier))
        return found["status"] in ENDED

    await eventually(over, within=within * patience(), what=f"the end of the task {identifier}")
    result = (await daemon.api("GET", f"/results/{quote(found['resultId'])}")).ok()
    assert result["status"] == found["status"]
    return result


async def run(daemon: Daemon, connection: str, mode: str = "pull", **more: Any) -> JsonObject:
    """The counts of a task that must succeed; those that are not 0."""
    result = await ended(daemon, await begin(daemon, connection, mode, **more))
    assert result["status"] == "succeeded", result
    return told(result)


def told(result: JsonObject) -> JsonObject:
    """The counts that are not 0."""
    return {name: count for name, count in result["counts"].items() if count}


def assert_sums_up(result: JsonObject) -> None:
    """What came in is what went somewhere."""
    counts = result["counts"]
    assert counts["fetched"] == sum(counts[name] for name in OUTCOMES), counts


async def entities(daemon: Daemon) -> list[JsonObject]:
    return await pages(daemon, f"/entities/{TYPE}?tenantId={TENANT}")


async def entity_named(daemon: Daemon, name: str) -> JsonObject:
    [found] = [one for one in await entities(daemon) if one["data"]["name"] == name]
    return found


async def edit(daemon: Daemon, entity: JsonObject, changes: JsonObject) -> Answer:
    body = {"tenantId": TENANT, "data": {**entity["data"], **changes}}
    return await daemon.api("PUT", f"/entities/{TYPE}/{quote(entity['id'])}", body)


async def in_step(daemon: Daemon, *, within: float = 90.0) -> None:
    """Wait until every connection has been told everything, but for what waits for a person, and no message is left."""
    left: list[object] = []

    async def clean() -> bool:
        answer = await daemon.api("GET", "/queues")
        if answer.status == 503:
            return False  # a broker that is too busy to be counted is not done
        [figures] = [one for one in answer.ok()["items"] if one["name"] == "sync-outbound"]
        left[:] = [figures[state] for state in ("ready", "leased", "scheduled") if figures[state]]
        if not left:
            left[:] = [one["links"] for one in await entities(daemon) if "dirtySince" in one and not _is_held(one)]
        return not left

    try:
        await eventually(clean, within=within * patience(), what="everything in step")
    except AssertionError as error:
        error.add_note(f"left: {left[:3]} and {max(len(left) - 3, 0)} more")
        raise


def _is_held(entity: JsonObject) -> bool:
    owed = [link for link in entity["links"].values() if link.get("want", 0) > link.get("pushed", 0)]
    return all("held" in link for link in owed)


async def in_step_but_for(daemon: Daemon, connections: int) -> None:
    """Wait until only so many connections are owed something."""

    async def rest() -> bool:
        links = [link for one in await entities(daemon) for link in one["links"].values()]
        return len([link for link in links if link.get("want", 0) > link.get("pushed", 0)]) == connections

    await eventually(rest, what=f"only {connections} connections out of step")


# -- webhooks of the systems --


async def register_hook(daemon: Daemon, identifier: str, connection: str) -> None:
    body = {
        "id": identifier,
        "tenantId": TENANT,
        "integrationId": "rest",
        "connectionId": connection,
        "scheme": "hmac-sha256",
        "schemeSettings": {"header": "x-signature", "deliveryIdHeader": "x-delivery"},
        "secret": HOOK_SECRET,
    }
    (await daemon.api("POST", "/webhooks", body)).ok()


def signed_event(system: System, external_id: str, *, delivery: str) -> tuple[dict[str, str], bytes]:
    """What the system tells of its object: headers and body."""
    shown = system.event(TYPE, external_id, "update")
    assert shown is not None
    headers, body = shown
    # The double does not know whose it is.
    raw = json.dumps({**json.loads(body), "tenantId": TENANT}).encode()
    signature = hmac.new(HOOK_SECRET.encode(), raw, hashlib.sha256).hexdigest()
    return {**headers, "x-signature": signature, "x-delivery": delivery}, raw


async def tell(daemon: Daemon, identifier: str, system: System, external_id: str, *, delivery: str) -> JsonObject:
    """The system tells of its object, signed."""
    headers, raw = signed_event(system, external_id, delivery=delivery)
    return (await daemon.request("POST", f"/webhooks/{identifier}/events", body=raw, headers=headers)).ok()


def manners(style: str) -> Manners:
    double = DOUBLES[style]()
    assert isinstance(double, RestDouble)
    return double.manners
