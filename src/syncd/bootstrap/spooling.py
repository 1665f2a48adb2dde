"""The spool of webhook events: only where the queue is another machine, and on a disk only where that outlives the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from syncd.adapters.embedded.files import quick_check
from syncd.adapters.embedded.spool import FILE_NAME, open_spool
from syncd.domain.errors import SyncdError
from syncd.flows.accept import QUEUE
from syncd.flows.spooling import Spooling
from syncd.ports.blobs import Blobs
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.queue import Queue
from syncd.settings import Settings


@asynccontextmanager
async def open_spooling(
    settings: Settings, *, queue: Queue, blobs: Blobs, clock: Clock, observe: Observe, durable: bool = True
) -> AsyncIterator[Spooling | None]:
    """None where the queue is the embedded one: its own commit is the durable write. Raises StoreUnusable.

    Events that an earlier start left in the spool are drained even where the directory is not called durable any more.
    """
    if settings.backend.queue == "embedded":
        yield None
        return
    daemon = settings.daemon
    async with AsyncExitStack() as stack:
        spool = None
        if daemon.data_dir_durable or _file(settings).exists():
            spool = await stack.enter_async_context(
                open_spool(
                    daemon.data_dir,
                    max_bytes=settings.webhooks.spool_max_bytes,
                    clock=clock,
                    observe=observe,
                    durable=durable,
                )
            )
        spooling = Spooling(
            spool=spool,
            takes=daemon.data_dir_durable,
            queue=queue,
            name=QUEUE,
            blobs=blobs,
            clock=clock,
            observe=observe,
            spool_timeout=settings.webhooks.enqueue_timeout,
        )
        await spooling.recover()
        yield spooling


def check_spool(settings: Settings) -> tuple[str, str, str, str] | None:
    """The row of `syncd check`: name, status, detail, fix. None where there is nothing to spool for."""
    if settings.backend.queue == "embedded" or "webhooks" not in settings.daemon.roles:
        return None
    path = _file(settings)
    if not settings.daemon.data_dir_durable:
        return (
            "webhook spool",
            "note",
            "off, because daemon.data_dir_durable is false: while the queue is away webhooks are answered 503",
            "set daemon.data_dir_durable = true where daemon.data_dir is on a volume that outlives the process",
        )
    try:
        verdict = quick_check(path) if path.exists() else "ok"
    except SyncdError as error:
        return ("webhook spool", "failed", str(error), "stop the daemon and keep the file: webhook events are in it")
    if verdict != "ok":
        return (
            "webhook spool",
            "failed",
            f"{path}: {verdict}",
            "stop the daemon and keep the file: webhook events are in it",
        )
    size = settings.webhooks.spool_max_bytes / 1024**2
    return ("webhook spool", "ok", f"{path}: up to {size:.0f} MiB of events while the queue is away", "")


def _file(settings: Settings) -> Path:
    return settings.daemon.data_dir / FILE_NAME
