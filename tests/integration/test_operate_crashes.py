"""What operators set up, killed at any port call and asked for again: it is there once, its secrets with it, or gone with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from syncd.adapters.providers import load_providers
from syncd.domain.collections import CONNECTIONS, CREDENTIALS, REGISTRATIONS
from syncd.domain.errors import Conflict, NotFound
from syncd.domain.jsontypes import JsonObject
from syncd.domain.principal import LOCAL
from syncd.domain.schedules import parse_schedule
from syncd.domain.secrets import Secret
from syncd.flows.jobs import Job, Tick, TickResult
from syncd.flows.operate.audit import AuditTrail
from syncd.flows.operate.connections import ConnectionsFlow
from syncd.flows.operate.credentials import CredentialStore
from syncd.flows.overlay import Overlay
from syncd.flows.purgesurvey import secret_names
from syncd.flows.ticks import Ticks
from syncd.ports.documents import Query
from syncd.ports.observe import ignore
from syncd.testing.clock import FrozenClock
from syncd.testing.crash import Crash, CrashAt
from tests.integration.backends import Backend
from tests.integration.test_webhook_crashes import made_in
from tests.integration.webhooks import SECRET, World, github, issue, opened

Act = Callable[[World], Awaitable[object]]
PROVIDERS = load_providers()
ROTATED = "the secret that comes after the first one"


async def at_port_calls(
    backend: Backend, root: Path, act: Act, check: Act, *, prepare: Act | None = None, more_than: int
) -> None:
    """`check` asks again, as who got no answer does, and sees the result."""
    directories = made_in(root)

    async def scenario(crash: CrashAt) -> None:
        directory, clock = next(directories), FrozenClock()
        if prepare is not None:
            async with opened(directory, clock, backend=backend) as world:
                await prepare(world)
        async with opened(directory, clock, backend=backend, crash=crash) as world:
            with suppress(Crash):
                await act(world)
        await clock.advance(120)
        async with opened(directory, clock, backend=backend, boot="two") as world:
            await check(world)

    await backend.at_port_calls(scenario, more_than=more_than)


def rotate(world: World) -> Awaitable[object]:
    return world.registrations.rotate("reg", secret=Secret(ROTATED), overlap=3600.0)


async def test_a_registration_that_is_made_and_given_another_secret_lets_in_who_signs_with_it(
    tmp_path: Path, backend: Backend
) -> None:
    async def act(world: World) -> None:
        await world.register()
        await rotate(world)

    async def check(world: World) -> None:
        with suppress(Conflict):  # it is there already
            await world.register()
        known = [SECRET, *([ROTATED] if len((await world.registrations.get("reg")).data["secretVersions"]) > 1 else [])]
        await rotate(world)
        verifier = (await world.registrations.find("reg")).verifier
        assert verifier is not None
        for secret in [*known, ROTATED]:  # who signs with what was valid is let in meanwhile
            verifier.verify(github(issue(), secret=secret), issue(), world.clock.now())

    await at_port_calls(backend, tmp_path, act, check, more_than=6)


async def test_a_registration_that_is_deleted_takes_its_secrets_with_it(tmp_path: Path, backend: Backend) -> None:
    names: list[str] = []

    async def prepare(world: World) -> None:
        await world.register()
        await rotate(world)
        names[:] = secret_names(REGISTRATIONS, await world.registrations.get("reg"))

    async def delete(world: World) -> None:
        await world.registrations.delete("reg")

    async def check(world: World) -> None:
        with suppress(NotFound):  # it is gone already
            await delete(world)
        for name in names:
            assert await world.vault.versions(name) == [], "nobody would ever find it"

    await at_port_calls(backend, tmp_path, delete, check, prepare=prepare, more_than=4)


def connections(world: World) -> ConnectionsFlow:
    return ConnectionsFlow(
        documents=world.documents,
        credentials=CredentialStore(documents=world.documents, vault=world.vault, clock=world.clock),
        clock=world.clock,
        audit=AuditTrail(documents=world.documents, clock=world.clock),
        providers=PROVIDERS,
        tasks=cast("Any", None),  # nothing here is switched on again
    )


def bearer(token: str) -> dict[str, str]:
    return {"kind": "bearer", "token": token}


FIELDS: JsonObject = {"id": "crm", "tenantId": "tenant", "integrationId": "github", "entities": {}}


async def token_of(world: World) -> str:
    """What is shown to the system, by way of the connection."""
    connection = await world.documents.get(CONNECTIONS, "crm", "crm")
    assert connection is not None
    credential = await world.documents.get(CREDENTIALS, "tenant", connection.data["credentialId"])
    assert credential is not None
    return (await world.vault.get(credential.data["vaultName"], credential.data["version"])).reveal()


async def test_a_connection_always_has_a_credential_that_is_there(tmp_path: Path, backend: Backend) -> None:
    async def act(world: World) -> None:
        await connections(world).create(LOCAL, FIELDS, bearer("first"))
        await connections(world).update(LOCAL, "crm", {}, bearer("second"))

    async def check(world: World) -> None:
        with suppress(Conflict):  # it is there already
            await connections(world).create(LOCAL, FIELDS, bearer("first"))
        assert '"first"' in (token := await token_of(world)) or '"second"' in token
        await connections(world).update(LOCAL, "crm", {}, bearer("second"))
        assert '"second"' in await token_of(world)

    await at_port_calls(backend, tmp_path, act, check, more_than=15)


async def test_of_a_connection_that_is_deleted_no_secret_is_left_that_a_purge_would_not_find(
    tmp_path: Path, backend: Backend
) -> None:
    names: list[str] = []

    async def prepare(world: World) -> None:
        await connections(world).create(LOCAL, FIELDS, bearer("first"))
        [credential] = (await world.documents.query(CREDENTIALS, Query(across=True))).items
        names[:] = secret_names(CREDENTIALS, credential)

    async def delete(world: World) -> None:
        await connections(world).delete(LOCAL, "crm")

    async def check(world: World) -> None:
        with suppress(NotFound):  # it is gone already
            await delete(world)
        assert await world.documents.get(CONNECTIONS, "crm", "crm") is None
        if not (await world.documents.query(CREDENTIALS, Query(across=True))).items:
            assert await world.vault.versions(names[0]) == []

    await at_port_calls(backend, tmp_path, delete, check, prepare=prepare, more_than=8)


async def test_what_is_asked_of_jobs_and_settings_holds_when_it_is_asked_again(
    tmp_path: Path, backend: Backend
) -> None:
    ran: list[str] = []

    async def run(tick: Tick) -> TickResult:
        ran.append(tick.id)
        return TickResult()

    job = Job(name="nightly", schedule=parse_schedule("0 3 * * *"), run=run)

    def ticks(world: World, owner: str) -> Ticks:
        return Ticks(documents=world.documents, clock=world.clock, observe=ignore, owner=owner, alone=True)

    async def ask(world: World, owner: str) -> None:
        overlay = Overlay(documents=world.documents, clock=world.clock)
        await overlay.write({"sync.page_size": 50}, base=await overlay.current(), actor="somebody")
        asked = ticks(world, owner)
        await asked.requests.pause(job)
        await asked.requests.resume(job)
        await asked.requests.request_run(job, at=world.clock.now() // 3600 * 3600)
        while await asked.run_next(job):
            pass

    async def check(world: World) -> None:
        before = len(ran)
        with suppress(Conflict):  # that tick has had its effect
            await ask(world, "r1/b2")
        after = ticks(world, "r1/b2")
        while await after.run_next(job):
            pass
        overlaid = await Overlay(documents=world.documents, clock=world.clock).current()
        assert overlaid.values == {"sync.page_size": 50}
        book = await after.requests.book("nightly")
        assert (book["paused"], book["running"]) == (False, None)
        history = (await after.requests.history("nightly")).items
        assert [one.data["status"] for one in history] == ["succeeded"], "asking twice for one time is asking once"
        assert len(ran) - before <= 1
        ran.clear()

    await at_port_calls(backend, tmp_path, lambda world: ask(world, "r1/b1"), check, more_than=10)
