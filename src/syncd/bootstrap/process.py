"""The daemon around its generations: directory, loop, services, exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from syncd import __version__
from syncd.adapters.embedded.clock import SystemClock
from syncd.bootstrap.control import Control, with_overlay, with_references
from syncd.bootstrap.generation import Surroundings, build_generation
from syncd.bootstrap.ports import open_ports
from syncd.bootstrap.secrets import secrets_in
from syncd.domain.errors import SyncdError
from syncd.domain.ids import ulid
from syncd.domain.secrets import Secret
from syncd.flows.claims import MOST_SKEW
from syncd.flows.jobs import Job
from syncd.flows.ticks import Ticks
from syncd.http.connection import ListenerLimits
from syncd.http.server import Server
from syncd.ports.control import Component
from syncd.runtime.daemon import Daemon
from syncd.runtime.executor import Executor
from syncd.runtime.gauges import QueueGauges
from syncd.runtime.health import HealthBoard
from syncd.runtime.live import LiveEvents
from syncd.runtime.lock import DataDirectory
from syncd.runtime.loopwatch import LoopWatch
from syncd.runtime.notify import Notifier
from syncd.runtime.supervision import Supervisor
from syncd.runtime.ticker import Ticker
from syncd.runtime.watchdog import Watchdog, watchdog_timeout
from syncd.runtime.work import Handler
from syncd.runtime.worker import Worker
from syncd.settings import ConfigurationError, Loaded, Settings
from syncd.telemetry.log import Logs, get_logger
from syncd.telemetry.observe import Telemetry

#: Where the embedded default keeps the admin token that it made for itself.
TOKEN_FILE = "admin-token"  # noqa: S105 - a file name
#: A command that found no daemon may hold the store for a moment while one starts: it must not make the start fail. Seconds.
COMMAND_PATIENCE = 3.0
#: Seconds that a thread may hold the interpreter lock while another wants it. The default of 5 ms is longer than a whole commit;
#: the store's writer and the loop hand it to each other thousands of times a second.
SWITCH_INTERVAL = 0.0005


def run_daemon(
    loaded: Loaded, *, extra_handlers: Mapping[str, Handler] | None = None, extra_jobs: Sequence[Job] = ()
) -> int:
    """Run until told to stop. 0 after an orderly stop, 1 where the store or the address cannot be had or a service was given up,
    78 where the vault has not what the settings refer to.

    `extra_handlers`, `extra_jobs`: further kinds of message and scheduled jobs, for programs that embed the daemon.
    """
    settings = loaded.settings
    logs = Logs()
    logs.configure(level=settings.telemetry.log_level, json=_json_lines(settings))
    logs.catch_uncaught()
    logs.known_secrets.add(*secrets_in(settings))
    sys.setswitchinterval(SWITCH_INTERVAL)
    boot = ulid(time.time())
    try:
        with (
            DataDirectory(settings.daemon.data_dir, boot=boot, now=time.time, patience=COMMAND_PATIENCE) as directory,
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            return runner.run(_main(loaded, logs, directory, boot, extra_handlers or {}, extra_jobs))
    except SyncdError as error:
        get_logger().error("cannot_run", reason=str(error))
        return error.EXIT_CODE if isinstance(error, ConfigurationError) else 1


def _json_lines(settings: Settings) -> bool | None:
    return {"auto": None, "json": True, "console": False}[settings.telemetry.log_format]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where the `speed` extra is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _main(
    loaded: Loaded,
    logs: Logs,
    directory: DataDirectory,
    boot: str,
    extra_handlers: Mapping[str, Handler],
    extra_jobs: Sequence[Job],
) -> int:
    async with build_daemon(
        loaded, logs=logs, boot=boot, extra_handlers=extra_handlers, extra_jobs=extra_jobs
    ) as built:
        return await built.daemon(directory).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Everything of a daemon, not started."""

    control: Control
    server: Server
    supervisor: Supervisor
    executor: Executor
    workers: tuple[Worker, ...]
    loop_watch: LoopWatch
    gauges: QueueGauges

    def daemon(self, directory: DataDirectory | None = None) -> Daemon:
        control, settings = self.control, self.control.current.settings
        observe, clock = control.telemetry.observe, control.ports.clock
        notifier = Notifier.from_environment(os.environ, observe=observe)
        services = [("loop watch", self.loop_watch.run), ("queue gauges", self.gauges.run)]
        if control.ports.spooling is not None:
            services.append(("webhook spool", control.ports.spooling.run))
        if control.overlay_unread:
            services.append(("overlay", control.read_overlay))
        timeout = watchdog_timeout(os.environ, pid=os.getpid())
        if timeout is not None:
            watchdog = Watchdog(
                notifier=notifier, timeout=timeout, progress=control.board.stuck, clock=clock, observe=observe
            )
            services.append(("watchdog", watchdog.run))

        def on_ready() -> None:
            if directory is not None:
                directory.announce(self.server.address)
            # What lives now lives as long as the process: the collector need not walk it again and again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(20_000, 20, 50)
            gc.enable()

        return Daemon(
            supervisor=self.supervisor,
            services=services,
            workers=self.workers,
            ticker=control.ticker,
            listener=self.server,
            health=control.board,
            notifier=notifier,
            reload=control.reload,
            clock=clock,
            observe=observe,
            drain_timeout=settings.daemon.drain_timeout,
            lame_duck=settings.daemon.lame_duck,
            on_ready=on_ready,
        )


@asynccontextmanager
async def build_daemon(
    loaded: Loaded,
    *,
    logs: Logs,
    boot: str,
    extra_handlers: Mapping[str, Handler] | None = None,
    extra_jobs: Sequence[Job] = (),
) -> AsyncIterator[Built]:
    """Open the ports and build the first generation around them."""
    settings = loaded.settings
    telemetry = Telemetry(logger=get_logger(), sample=settings.telemetry.sample, slow=settings.telemetry.slow)
    observe = telemetry.observe
    clock = SystemClock(observe=observe)
    async with open_ports(settings, clock=clock, observe=observe, boot=boot, learn=logs.known_secrets.add) as ports:
        supervisor = Supervisor(clock=clock, observe=observe)
        loop_watch = LoopWatch(clock=clock, observe=observe)
        board = HealthBoard(version=__version__, roles=settings.daemon.roles, supervisor=supervisor, loop=loop_watch)
        for look in ports.looks:
            board.add(look)
        spooling = ports.spooling
        if spooling is not None:
            if "webhooks" in settings.daemon.roles:
                board.add(spooling.look)
            spooled = "Webhook events that wait on the local disk for the queue."
            telemetry.gauge("spool_messages", spooled, read=lambda: [((), float(spooling.messages))])
        board.add(lambda: _clock(clock, ports.skew()))
        ticker = Ticker(clock=clock, observe=observe)
        control = Control(board=board, ports=ports, telemetry=telemetry, logs=logs, ticker=ticker)
        own = await asyncio.to_thread(own_token, settings)
        logs.known_secrets.add(own)
        control.around = Surroundings(
            ports=ports,
            control=control,
            events=LiveEvents(clock=clock),
            metrics=telemetry.render,
            ticks=Ticks(
                documents=ports.documents,
                clock=clock,
                observe=observe,
                owner=ports.owner,
                alone=ports.sole,
                skew=ports.skew,
            ),
            own_token=own,
            extra_handlers=extra_handlers or {},
            extra_jobs=tuple(extra_jobs),
        )
        complete = await with_references(await with_overlay(loaded, control), control)
        control.take(build_generation(1, complete, control.around))
        names = tuple(settings.queues)
        gauges = QueueGauges(
            queue=ports.queue,
            names=names,
            dead=lambda: control.current.flows.parked.counts(names),
            clock=clock,
            observe=observe,
        )
        telemetry.gauge("queue_depth", "Messages ready or scheduled.", "queue", read=gauges.waiting)
        telemetry.gauge("queue_oldest_age_seconds", "Age of the oldest ready message.", "queue", read=gauges.oldest)
        telemetry.gauge("queue_dead_letters", "Messages that are parked.", "queue", read=gauges.dead)
        telemetry.gauge("config_generation", "Generation in force.", read=lambda: [((), float(board.generation))])
        executor = Executor(
            queue=ports.queue,
            blobs=ports.blobs,
            park=lambda *parked: control.current.park(*parked),
            clock=clock,
            observe=observe,
        )
        http = settings.http
        yield Built(
            control=control,
            server=Server(
                current=lambda: control.current.services,
                clock=clock,
                host=http.host,
                port=http.port,
                limits=ListenerLimits(
                    header_timeout=http.header_timeout,
                    keepalive_timeout=http.keepalive_timeout,
                    header_bytes=http.max_header_bytes,
                    connections=http.max_connections,
                ),
            ),
            supervisor=supervisor,
            executor=executor,
            workers=tuple(
                Worker(
                    name=name,
                    queue=ports.queue,
                    executor=executor,
                    workload=lambda: control.current.workload,
                    clock=clock,
                    observe=observe,
                    loop_lag=lambda: loop_watch.lag,
                )
                for name in control.current.workload.limits
            ),
            loop_watch=loop_watch,
            gauges=gauges,
        )


def own_token(settings: Settings) -> Secret | None:
    """The admin token of a daemon that was given none: made at the first start, for its owner to read."""
    if settings.http.admin_token or settings.http.tokens:
        return None
    path = settings.daemon.data_dir / TOKEN_FILE
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(32)
        _write_private(path, token)
        get_logger().info("admin_token_made", file=str(path))
    return Secret(token)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")


def _clock(clock: SystemClock, skew: float) -> Component:
    back = clock.stepped_back
    if back:
        return Component("clock", "degraded", f"the machine's clock was set back by {back:.0f} s; we keep our own time")
    if abs(skew) > MOST_SKEW:
        way = "ahead of" if skew > 0 else "behind"
        told = (
            f"the machine's clock is {abs(skew):.0f} s {way} the documents': jobs are left to others until it is right"
        )
        return Component("clock", "degraded", told)
    return Component("clock", "ok")
