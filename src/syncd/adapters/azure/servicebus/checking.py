"""What the entities of a namespace are set to, what of it is dangerous, and making what is missing: by the administration API.

It takes the right to manage, which the daemon does not need; without it only the entities' existence can be seen, by peeking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceNotFoundError

from syncd.adapters.azure.errors import boundary
from syncd.adapters.azure.servicebus.administration import administration_client
from syncd.domain.messages import LANES, MESSAGE_LIFETIME

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.servicebus.aio.management import ServiceBusAdministrationClient
    from azure.servicebus.management import QueueProperties

#: Seconds of one request; `check` is asked by somebody who waits.
TIMEOUT = 10.0
#: A message whose worker died with it five times is parked by us; the broker must not take it away before (guarantees, G7).
LEAST_DELIVERIES = 7
#: Renewals come at half of a lock; below this a short pause of the network loses it. Seconds.
LEAST_LOCK = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityReport:
    name: str
    settings: str
    """In words; empty where it does not exist."""
    problems: tuple[str, ...] = ()
    """What breaks a promise."""
    notes: tuple[str, ...] = ()
    fix: str = ""


def lanes_of(entity: str) -> list[str]:
    return [entity if lane == "normal" else f"{entity}-{lane}" for lane in LANES]


async def check_entities(
    *,
    entities: Sequence[str],
    connection_string: str | None = None,
    namespace: str | None = None,
    credential: AsyncTokenCredential | None = None,
    ca_file: str | None = None,
    create: bool = False,
) -> list[EntityReport]:
    """Of each entity and of its lanes that exist; with `create` all lanes are made where they are missing, as deploy/azure does.

    Raises Unavailable where the API cannot be reached or the right to manage is missing, and Invalid for no namespace.
    """
    host = _host(connection_string, namespace)
    administration = administration_client(
        connection_string=connection_string, namespace=namespace, credential=credential, ca_file=ca_file, retries=1
    )
    with boundary("the administration of Service Bus"):
        async with administration as client:
            return await _look(client, host, entities, create=create)


async def _look(
    client: ServiceBusAdministrationClient, host: str, entities: Sequence[str], *, create: bool
) -> list[EntityReport]:
    reports: list[EntityReport] = []
    for entity in entities:
        for name in lanes_of(entity):
            found = await _get(client, name)
            if found is None and create:
                await _create(client, name)
                found = await _get(client, name)
            if found is not None:
                reports.append(_report(found, host))
            elif name == entity:
                fix = f"syncd check --create, or: {_command('create', host, name)} {_WANTED}"
                reports.append(EntityReport(name=name, settings="", problems=("it does not exist",), fix=fix))
    return reports


async def _get(client: ServiceBusAdministrationClient, name: str) -> QueueProperties | None:
    try:
        return await client.get_queue(name, timeout=TIMEOUT)
    except ResourceNotFoundError:
        return None


async def _create(client: ServiceBusAdministrationClient, name: str) -> None:
    await client.create_queue(
        name,
        lock_duration=timedelta(minutes=1),
        max_delivery_count=10,
        default_message_time_to_live=timedelta(days=14),
        dead_lettering_on_message_expiration=True,
        requires_duplicate_detection=True,
        duplicate_detection_history_time_window=timedelta(days=1),
        timeout=TIMEOUT,
    )


_WANTED = (
    "--lock-duration PT1M --max-delivery-count 10 --default-message-time-to-live P14D "
    "--enable-dead-lettering-on-message-expiration true --enable-duplicate-detection true "
    "--duplicate-detection-history-time-window P1D"
)


def _report(found: QueueProperties, host: str) -> EntityReport:
    problems: list[str] = []
    changes: list[str] = []
    notes: list[str] = []
    lock, life = _seconds(found.lock_duration), _seconds(found.default_message_time_to_live)
    deliveries = int(found.max_delivery_count or 0)
    status = str(getattr(found.status, "value", found.status))
    if status != "Active":
        problems.append(f"it is {status}")
        changes.append("--status Active")
    if not found.dead_lettering_on_message_expiration:
        problems.append(f"what waits longer than {_time(life)} is thrown away unseen")
        changes.append("--enable-dead-lettering-on-message-expiration true")
    if life < MESSAGE_LIFETIME:
        notes.append(
            f"messages that wait longer than {_time(life)} are parked as expired, instead of {_time(MESSAGE_LIFETIME)}"
        )
    if deliveries < LEAST_DELIVERIES:
        problems.append(f"after {deliveries} deliveries the broker takes a message away before syncd can say why")
        changes.append("--max-delivery-count 10")
    if lock < LEAST_LOCK:
        notes.append(f"a lock of {_time(lock)} is lost by a short pause of the network")
    if not found.requires_duplicate_detection:
        notes.append("no duplicate detection: a hop that is sent twice is handled twice, and absorbed by the documents")
    if found.requires_session:
        notes.append("sessions are served one after another: slower than lanes, and not needed for order")
    return EntityReport(
        name=found.name,
        settings=_words(found, lock, life, deliveries),
        problems=tuple(problems),
        notes=tuple(notes),
        fix=f"{_command('update', host, found.name)} {' '.join(changes)}" if changes else "",
    )


def _words(found: QueueProperties, lock: float, life: float, deliveries: int) -> str:
    duplicates = _seconds(found.duplicate_detection_history_time_window)
    said = [
        f"lock {_time(lock)}",
        f"{deliveries} deliveries",
        f"lives {_time(life)}, then {'dead-lettered' if found.dead_lettering_on_message_expiration else 'gone'}",
        f"{found.max_size_in_megabytes} MB",
        f"duplicates {_time(duplicates)}" if found.requires_duplicate_detection else "duplicates taken",
    ]
    return ", ".join(said)


def _command(verb: str, host: str, name: str) -> str:
    return f"az servicebus queue {verb} --resource-group GROUP --namespace-name {host.partition('.')[0]} --name {name}"


def _host(connection_string: str | None, namespace: str | None) -> str:
    for part in (connection_string or "").split(";"):
        key, _, value = part.strip().partition("=")
        if key.lower() == "endpoint":
            return value.partition("://")[2].strip("/")
    return namespace or "NAMESPACE"


def _seconds(value: timedelta | str | None) -> float:
    """The SDK gives a timedelta, and takes ISO 8601 text too; endless is more than any number that matters."""
    return value.total_seconds() if isinstance(value, timedelta) else 0.0


def _time(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}" if seconds / unit < 100_000 else "for ever"
    return f"{seconds:g} s"
