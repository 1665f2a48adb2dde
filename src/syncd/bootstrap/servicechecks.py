"""`syncd check` of the services behind the ports: each resource, right and dangerous setting, with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from syncd.adapters.embedded.clock import SystemClock
from syncd.bootstrap.services import Services, entities
from syncd.domain.errors import SyncdError
from syncd.ports.observe import ignore

if TYPE_CHECKING:
    from syncd.adapters.azure.servicebus.checking import EntityReport
    from syncd.bootstrap.checks import Row
    from syncd.settings import Settings


async def check_services(settings: Settings, *, create: bool = False) -> list[Row]:
    """Of every port that a service stands behind. `create` makes queues and containers that are missing."""
    backend = settings.backend
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        services = Services(stack, settings, clock=SystemClock(observe=ignore), observe=ignore)
        for port, adapter, look in (
            ("documents", "cosmos", _documents),
            ("queue", "servicebus", _queue),
            ("vault", "keyvault", _vault),
            ("limiter", "redis", _limiter),
            ("blobs", "blob", _blobs),
        ):
            if getattr(backend, port) != adapter:
                continue
            try:
                rows += await look(settings, services, create)
            except SyncdError as error:
                rows.append((port, "failed", str(error), _hint(adapter)))
    return rows


async def _documents(settings: Settings, services: Services, create: bool) -> list[Row]:
    from syncd.adapters.azure.cosmos.checking import check_cosmos

    given = settings.cosmos
    findings = await check_cosmos(**await services.cosmos(), create=create)
    if not findings:
        return [("documents", "ok", f"{given.endpoint} database {given.database}: containers, indexes and rights", "")]
    return [
        (
            f"documents: {one.part}",
            "failed",
            one.problem,
            f"syncd check --create, or: {one.fix}" if one.creatable and not create else one.fix,
        )
        for one in findings
    ]


async def _queue(settings: Settings, services: Services, create: bool) -> list[Row]:
    from syncd.adapters.azure.servicebus.checking import check_entities

    namespace = await services.namespace()
    text = namespace["connection_string"]
    names = entities(settings)
    rows: list[Row] = []
    if text is None or "UseDevelopmentEmulator=true" not in text:
        try:
            reports = await check_entities(
                **namespace, entities=[names.get(queue, queue) for queue in settings.queues], create=create
            )
        except SyncdError as error:
            fix = "run check as somebody with the right to manage; the daemon needs only to listen and to send"
            rows.append(("queue settings", "note", f"cannot be seen: {error}", fix))
        else:
            rows += _entity_rows(reports)
            if any(report.problems for report in reports):
                return rows
    queue = await services.queue()
    for name in settings.queues:
        try:
            await queue.peek(name, limit=1)
            rows.append((f"queue {name}", "ok", "it is there, and we may listen", ""))
        except SyncdError as error:
            rows.append((f"queue {name}", "failed", str(error), _hint("servicebus")))
    return rows


def _entity_rows(reports: Sequence[EntityReport]) -> Iterator[Row]:
    for report in reports:
        name = f"queue entity {report.name}"
        for problem in report.problems:
            yield (name, "failed", problem, report.fix)
        for note in report.notes:
            yield (name, "note", note, "")
        if not report.problems:
            yield (name, "ok", report.settings, "")


async def _vault(settings: Settings, services: Services, create: bool) -> list[Row]:
    from syncd.adapters.azure.keyvault import KeyVault

    vault = await services.vault()
    assert isinstance(vault, KeyVault)
    missing = await vault.check()
    if not missing:
        return [("vault", "ok", f"{settings.keyvault.url}: get, set, list, update", "")]
    return [("vault", "failed", one, _hint("keyvault")) for one in missing]


async def _limiter(settings: Settings, services: Services, create: bool) -> list[Row]:
    from syncd.adapters.redis.checking import ping_redis, prepare_redis

    assert settings.redis.url is not None
    url, tag = settings.redis.url.reveal(), settings.redis.prefix
    if create:
        await prepare_redis(url=url, tag=tag)
    report = await ping_redis(url=url, tag=tag)
    if report.warning:
        return [("limiter", "note", report.warning, "")]
    return [("limiter", "ok", f"Redis {report.version}, {report.policy or 'its memory policy may not be asked'}", "")]


async def _blobs(settings: Settings, services: Services, create: bool) -> list[Row]:
    from syncd.adapters.azure.blob import BlobStorage

    blobs = await services.blobs()
    assert isinstance(blobs, BlobStorage)
    missing = await blobs.check(create=create)
    if not missing:
        return [("blobs", "ok", f"container {settings.blob.container}: written, read, listed, deleted", "")]
    return [("blobs", "failed", one, _hint("blob")) for one in missing]


_ROLE = {
    "cosmos": "Cosmos DB Built-in Data Contributor",
    "servicebus": "Azure Service Bus Data Receiver and Azure Service Bus Data Sender",
    "keyvault": "Key Vault Secrets Officer",
    "blob": "Storage Blob Data Contributor",
}


def _hint(adapter: str) -> str:
    role = _ROLE.get(adapter)
    if role is None:
        return "see that its address, its port and its password are right, and that its firewall lets us in"
    return f"see that its address is right and its firewall lets us in; the identity needs the role {role} (deploy/azure/main.bicep)"
