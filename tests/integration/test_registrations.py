from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncd.domain.collections import REGISTRATIONS
from syncd.domain.errors import Conflict, Invalid, NotFound, Unauthorized
from syncd.domain.ids import digest
from syncd.domain.secrets import Secret
from syncd.flows.registrations import NewRegistration, shown
from syncd.ports.documents import Documents, Query
from syncd.testing.clock import FrozenClock
from tests.integration.webhooks import SECRET, World, github, issue, opened

BODY = b'{"a": 1}'


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path, FrozenClock()) as world:
        await world.register()
        yield world


class Counting:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.reads = 0

    async def get(self, *args: Any) -> Any:
        self.reads += 1
        await asyncio.sleep(0)
        return await self._documents.get(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


async def test_with_a_warm_cache_no_document_is_read(world: World) -> None:
    counting = Counting(world.documents)
    world.registrations._documents = counting
    world.accept._documents = counting
    await asyncio.gather(*(world.send(issue(n), github(issue(n), f"d-{n}")) for n in range(50)))
    assert counting.reads == 1, "a crowd that misses together reads once"
    for _ in range(50):
        with pytest.raises(NotFound):
            await world.send(BODY, github(BODY), "nobody")
    assert counting.reads == 2


async def test_guessing_ids_does_not_push_known_ones_out_of_the_cache(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncd.flows.readthrough.CACHED", 5)
    await world.send(issue(), github(issue()))
    for number in range(50):
        with pytest.raises(NotFound):
            await world.send(BODY, {}, f"guess-{number}")
    assert world.registrations.cached("reg") is not None


async def test_a_change_here_counts_at_once_and_a_change_elsewhere_after_the_cache(
    world: World, tmp_path: Path
) -> None:
    body = issue()
    await world.send(body, github(body))
    other = World(world.documents, world.queue, world.blobs, world.vault, world.clock)
    await other.registrations.enable("reg", False)
    assert (await world.send(body, github(body))).status == "duplicate", "cached for up to ten seconds"
    await world.clock.advance(11)
    with pytest.raises(NotFound):
        await world.send(body, github(body))
    await world.registrations.enable("reg", True)
    assert (await world.send(body, github(body))).status == "duplicate"


async def test_a_read_that_began_before_a_change_does_not_bring_the_old_state_back(world: World) -> None:
    body = issue()
    reading, go_on = asyncio.Event(), asyncio.Event()
    documents = world.documents

    class Slow:
        async def get(self, *args: Any) -> Any:
            found = await documents.get(*args)
            reading.set()
            await go_on.wait()
            return found

    world.registrations._documents = Slow()
    sending = asyncio.create_task(world.send(body, github(body)))
    await reading.wait()
    world.registrations._documents = documents
    await world.registrations.enable("reg", False)
    go_on.set()
    await sending
    with pytest.raises(NotFound):
        await world.send(body, github(body))


async def test_after_a_rotation_both_secrets_sign_until_the_overlap_is_over(world: World) -> None:
    issued = await world.registrations.rotate("reg", overlap=3600)
    assert issued.secret is not None
    new = issued.secret.reveal()
    for number, secret in enumerate((SECRET, new)):
        assert (await world.send(issue(), github(issue(), f"a{number}", secret=secret))).status == "accepted"
    await world.clock.advance(3599.9)
    await world.send(issue(), github(issue(), "b"))
    await world.clock.advance(0.2)
    with pytest.raises(Unauthorized):
        await world.send(issue(), github(issue(), "c"))
    assert (await world.send(issue(), github(issue(), "c", secret=new))).status == "accepted"


async def test_a_secret_that_leaked_is_invalid_at_once(world: World) -> None:
    await world.registrations.rotate("reg", secret=Secret("fresh"), overlap=0)
    with pytest.raises(Unauthorized):
        await world.send(issue(), github(issue()))
    await world.send(issue(), github(issue(), secret="fresh"))


async def test_a_made_secret_is_shown_once_and_kept_nowhere_in_clear(world: World) -> None:
    issued = await world.registrations.create(
        NewRegistration(id="made", tenant_id="tenant", integration_id="github", scheme="github")
    )
    assert issued.secret is not None
    secret = issued.secret.reveal()
    assert len(secret) == 64
    stored = await world.documents.query(REGISTRATIONS, Query(across=True))
    assert secret not in str(stored)
    assert "name" not in str(shown(issued.document)["secrets"])
    assert secret not in repr(issued)


async def test_a_given_secret_is_not_shown_again(world: World) -> None:
    issued = await world.registrations.create(
        NewRegistration(id="given", tenant_id="t", integration_id="github", scheme="github", secret=Secret("s"))
    )
    assert issued.secret is None


async def test_an_id_that_is_taken_is_refused_and_the_first_keeps_its_secret(world: World) -> None:
    with pytest.raises(Conflict):
        await world.register(secret=Secret("other"), tenant_id="other")
    assert (await world.send(issue(), github(issue()))).status == "accepted"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"id": "a b"}, {"id"}),
        ({"id": "", "tenant_id": "x:y", "rate": 0}, {"id", "tenantId", "rate"}),
        ({"scheme": "none"}, {"scheme"}),
        ({"scheme_settings": {"header": "x"}}, {"schemeSettings.header"}),
        ({"max_body_bytes": 10**12}, {"maxBodyBytes"}),
        ({"secret": Secret(""), "id": "n"}, {"secret"}),
    ],
)
async def test_a_wrong_registration_is_refused_with_every_field(
    world: World, fields: dict[str, Any], paths: set[str]
) -> None:
    if fields.get("secret") == Secret(""):
        fields = {
            **fields,
            "scheme": "hmac-sha256",
            "scheme_settings": {"secretEncoding": "hex"},
            "secret": Secret("xyz"),
        }
    with pytest.raises(Invalid) as caught:
        await world.register(**{"id": "new", **fields})
    assert set(caught.value.errors) == paths


async def test_a_deleted_registration_is_unknown_and_its_secrets_are_gone(world: World) -> None:
    await world.send(issue(), github(issue()))
    await world.registrations.delete("reg")
    with pytest.raises(NotFound):
        await world.send(issue(), github(issue()))
    assert await world.vault.versions(digest("tenant", "webhook", "reg")) == []


async def test_registrations_are_listed_by_tenant(world: World) -> None:
    await world.register("other", tenant_id="elsewhere")
    assert [one.id for one in (await world.registrations.list(tenant_ids=["elsewhere"])).items] == ["other"]
    assert len((await world.registrations.list()).items) == 2
