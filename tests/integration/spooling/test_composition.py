"""When there is a spool at all, where it lies, and how an operator hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from syncd.adapters.embedded.blobs import open_blobs
from syncd.adapters.embedded.spool import FILE_NAME
from syncd.adapters.embedded.store import open_store
from syncd.bootstrap.spooling import check_spool, open_spooling
from syncd.domain.errors import StoreUnusable, Unavailable
from syncd.domain.messages import Envelope
from syncd.flows.spooling import Spooling
from syncd.ports.queue import Message
from syncd.settings import Settings, load
from syncd.testing.clock import FrozenClock
from tests.integration.spooling.broker import Broker, Line
from tests.integration.webhooks import Seen

BUS = "Endpoint=sb://bus.example;SharedAccessKeyName=n;SharedAccessKey=k"
#: What is tried here is done before the daemon serves anybody.
pytestmark = pytest.mark.may_block


def settings(directory: Path, **more: str) -> Settings:
    """One machine whose queue is Service Bus, unless `more` says otherwise."""
    environment = {
        "SYNCD_DAEMON__DATA_DIR": str(directory),
        "SYNCD_DAEMON__DATA_DIR_DURABLE": "true",
        "SYNCD_LIMITS__MAX_REPLICAS": "1",
        "SERVICE_BUS_CONNECTION_STRING": BUS,
        **more,
    }
    return load(None, [], environment).settings


def without_durability(directory: Path) -> Settings:
    given = settings(directory)
    return given.model_copy(update={"daemon": given.daemon.model_copy(update={"data_dir_durable": False})})


@asynccontextmanager
async def composed(given: Settings, seen: Seen, line: Line) -> AsyncIterator[Spooling | None]:
    directory, clock = given.daemon.data_dir, FrozenClock()
    async with (
        open_store(directory, clock=clock, durable=False) as store,
        open_blobs(directory / "blobs") as blobs,
        open_spooling(
            given, queue=Broker(store.queue, line), blobs=blobs, clock=clock, observe=seen, durable=False
        ) as spooling,
    ):
        yield spooling


async def refused(message: Message) -> bool:
    raise Unavailable("the broker refuses the connection")


def event() -> Message:
    return Message(Envelope(kind="webhook", origin_id="reg/d-1/0", registration_id="reg"), b"{}")


async def test_the_embedded_queue_needs_no_spool(tmp_path: Path) -> None:
    given = load(None, [], {"SYNCD_DAEMON__DATA_DIR": str(tmp_path)}).settings
    async with composed(given, Seen(), Line()) as spooling:
        assert spooling is None
    assert not (tmp_path / FILE_NAME).exists()
    assert check_spool(given) is None


async def test_a_queue_on_another_machine_has_a_spool_in_the_data_directory(tmp_path: Path) -> None:
    given = settings(tmp_path, SYNCD_WEBHOOKS__SPOOL_MAX_BYTES="3MiB")
    async with composed(given, Seen(), Line()) as spooling:
        assert spooling is not None
        assert not await spooling.keep(event(), refused)
        assert spooling.messages == 1
        assert "of 3 MiB" in spooling.look().detail
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    row = check_spool(given)
    assert row is not None
    assert row[1:3] == ("ok", f"{tmp_path / FILE_NAME}: up to 3 MiB of events while the queue is away")


async def test_where_the_directory_is_not_durable_there_is_none_and_start_and_check_say_so(tmp_path: Path) -> None:
    given, seen = without_durability(tmp_path), Seen()
    async with composed(given, seen, Line()) as spooling:
        assert spooling is not None
        with pytest.raises(Unavailable, match=r"refuses the connection; there is no spool.*data_dir_durable is false"):
            await spooling.keep(event(), refused)
        assert "answer is 503" in spooling.look().detail
    assert len(seen.named("spool_off")) == 1
    assert not (tmp_path / FILE_NAME).exists()
    row = check_spool(given)
    assert row is not None
    assert row[1] == "note"
    assert "webhooks are answered 503" in row[2]
    assert "daemon.data_dir_durable = true" in row[3]


async def test_events_of_an_earlier_start_are_drained_though_the_directory_is_not_called_durable_any_more(
    tmp_path: Path,
) -> None:
    async with composed(settings(tmp_path), Seen(), Line()) as spooling:
        assert spooling is not None
        await spooling.keep(event(), refused)
    seen, line = Seen(), Line()
    async with composed(without_durability(tmp_path), seen, line) as spooling:
        assert spooling is not None
        assert [len(seen.named(name)) for name in ("spool_off", "spool_found")] == [1, 1]
        with pytest.raises(Unavailable):
            await spooling.keep(event(), refused)
        assert spooling._draining is not None
        await spooling._draining._drain()
        assert line.taken == ["reg/d-1/0"]
        assert spooling.messages == 0


async def test_a_damaged_spool_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"this is not a database" * 400)
    before = path.read_bytes()
    given = settings(tmp_path)
    row = check_spool(given)
    assert row is not None
    assert (row[1], "webhook events are in it" in row[3]) == ("failed", True)
    with pytest.raises(StoreUnusable, match="damaged or not a SQLite database"):
        async with composed(given, Seen(), Line()):
            pass
    assert path.read_bytes() == before


def test_a_replica_without_the_role_webhooks_says_nothing_of_a_spool(tmp_path: Path) -> None:
    assert check_spool(settings(tmp_path, SYNCD_DAEMON__ROLES="inbound,outbound")) is None
