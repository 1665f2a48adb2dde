"""The tour: a thousand webhooks, kill -9 in the middle, a restart, and the books balanced from the API."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from syncd.demo.delivering import Delivering
from syncd.demo.narration import Counting, Narrator
from syncd.demo.processes import Child, free_port
from syncd.demo.readback import CONNECTION, ENTITY, LOOK, REGISTRATION, Api
from syncd.demo.verdict import Verdict, judge
from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject

EVENTS = 1000
#: Bounds of one start, and of everything from the first delivery to the last effect. Seconds; the machine may be busy.
START_WITHIN, WORK_WITHIN = 60.0, 120.0
#: Between two readings of the queues while the bar moves. Seconds.
_GLANCE = 0.2
_TOKEN_FILE = "admin-token"
#: A mark in the directory: the books did not balance.
_FAILED = "failed"


def guided_tour(*, leave: bool) -> int:
    """`leave`: end after the summary instead of running on until Ctrl-C. 0 where the books balance, 1 where they do not, and where
    it was interrupted before it knew. Raises SyncdError where the daemon does not start."""
    return asyncio.run(_with_signals(leave))


async def _with_signals(leave: bool) -> int:
    """SIGINT, SIGTERM and SIGHUP end the tour in order; a second one kills its children at once."""
    narrator = Narrator()
    with _directory(narrator) as directory:
        tour = Tour(narrator, directory)
        task = asyncio.create_task(tour.run(leave=leave))
        asked = 0

        def end() -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                task.cancel()
            else:
                tour.kill_now()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, end)
        try:
            return await task
        except asyncio.CancelledError:
            narrator.say("Stopped before the end. Nothing is left running.")
            return 1


@contextmanager
def _directory(narrator: Narrator) -> Iterator[Path]:
    """A fresh one each time. It is kept only where something failed that a person may want to look into."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-demo-"))
    keep = False
    try:
        yield directory
        keep = (directory / _FAILED).exists()
    except SyncdError:
        keep = True
        raise
    finally:
        if keep:
            narrator.say(f"Everything is kept in {directory}", "yellow")
        else:
            shutil.rmtree(directory, ignore_errors=True)


class Tour:
    def __init__(self, narrator: Narrator, directory: Path) -> None:
        self._narrator = narrator
        self._directory = directory
        self._data = directory / "data"
        self._daemon_log = directory / "daemon.log"
        self._sender_log = directory / "sender.jsonl"
        self._daemon: Child | None = None
        self._sender: Child | None = None
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"

    def kill_now(self) -> None:
        for child in (self._sender, self._daemon):
            if child is not None:
                child.kill_now()

    async def run(self, *, leave: bool) -> int:
        try:
            async with Api(self._url, self._data / _TOKEN_FILE) as api:
                verdict = await self._show(api)
            if verdict.good and not leave:
                return await self._stay()
            return 0 if verdict.good else 1
        except aiohttp.ClientError as error:
            raise SyncdError(f"the daemon could not be asked ({error}):\n{self._tail()}") from error
        finally:
            if self._sender is not None:
                await self._sender.kill9()
            if self._daemon is not None:
                await self._daemon.stop()

    async def _show(self, api: Api) -> Verdict:
        say = self._narrator.say
        say("syncd demo: a thousand webhooks, and a kill -9 in the middle.", "bold")
        say("The daemon, its data directory and the sender are made for this and thrown away afterwards.")
        say("")
        took = await self._start(api)
        say(f"1. The daemon runs (process {self._pid}), ready after {took:.1f} s. Its data: {self._data}")
        secret = secrets.token_urlsafe(24)
        target = await api.register(secret)
        say(
            f"2. Over its API: connection {CONNECTION} (takes issues), webhook registration {REGISTRATION} (signed, GitHub's scheme)"
        )
        try:
            async with asyncio.timeout(WORK_WITHIN):
                with self._narrator.counting(EVENTS) as counting:
                    await self._send_and_kill(api, target, secret, counting)
        except TimeoutError:
            say(f"Not done within {WORK_WITHIN:g} s; the books are balanced as they are.", "red")
        seen = await api.everything()
        verdict = judge(self._log_lines(), seen, planned=EVENTS)
        self._report(verdict)
        return verdict

    async def _send_and_kill(self, api: Api, target: str, secret: str, counting: Counting) -> None:
        say = self._narrator.say
        sending = Delivering(EVENTS)
        self._sender = await self._start_sender(target, secret)
        say(
            f"3. A sender in a process of its own (process {self._sender.process.pid}) delivers {EVENTS:,} events of made-up issues."
        )
        say("   As a provider does: one in twenty is sent twice on purpose, and only a 2xx ends a delivery.")
        background = [
            asyncio.create_task(sending.follow(self._sender.process.stdout, counting)),
            asyncio.create_task(self._glance(api, sending, counting)),
        ]
        try:
            await sending.reached(random.randint(EVENTS * 2 // 5, EVENTS * 3 // 5))
            await self._kill_and_restart(api, sending)
            await self._sender_ended()
            await background[0]
            while await api.waiting():  # noqa: ASYNC110 - an empty queue of another process gives no signal
                await asyncio.sleep(LOOK)  # as above
            counting.processed(EVENTS)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _kill_and_restart(self, api: Api, sending: Delivering) -> None:
        assert self._daemon is not None
        await self._daemon.kill9()
        killed = time.monotonic()
        self._narrator.say(
            f"4. kill -9 at {sending.delivered:,} of {EVENTS:,}. Nobody listens; the sender goes on trying.", "bold red"
        )
        await self._start(api)
        waiting = await api.waiting()
        self._narrator.say(
            f"5. Back after {time.monotonic() - killed:.1f} s on the same directory (process {self._pid}).",
            "bold green",
        )
        self._narrator.say(
            f"   {sending.unanswered:,} tries were in flight when it died, and {waiting:,} events with a 2xx are still to be worked on."
        )

    async def _sender_ended(self) -> None:
        """Raises SyncdError where it failed, and where the daemon ended before it without being asked."""
        assert self._sender is not None
        assert self._daemon is not None
        endings = [asyncio.create_task(child.process.wait()) for child in (self._sender, self._daemon)]
        try:
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for ending in endings:
                ending.cancel()
        if self._sender.process.returncode != 0:
            who = "daemon" if self._sender.running else "sender"
            raise SyncdError(f"the {who} ended before its time:\n{self._tail()}")

    async def _glance(self, api: Api, sending: Delivering, counting: Counting) -> None:
        """The bar of what is processed: what was answered 2xx less what waits. Only a bar; the books are balanced from the rows."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, SyncdError):
                delivered = sending.delivered
                counting.processed(max(0, delivered - await api.waiting()))
            await asyncio.sleep(_GLANCE)  # a bar needs no more than that

    # -- children --

    @property
    def _pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.process.pid

    async def _start(self, api: Api) -> float:
        """The seconds until it was ready. Raises SyncdError with the end of its log."""
        began = time.monotonic()
        self._daemon = await Child.start(
            ["-m", "syncd", "run"],
            cwd=self._directory,
            log=self._daemon_log,
            environment={
                "SYNCD_DAEMON__DATA_DIR": str(self._data),
                "SYNCD_HTTP__HOST": "127.0.0.1",
                "SYNCD_HTTP__PORT": str(self._port),
            },
        )
        while not await api.ready():
            if not self._daemon.running:
                raise SyncdError(f"the daemon ended with {self._daemon.process.returncode}:\n{self._tail()}")
            if time.monotonic() - began > START_WITHIN:
                raise SyncdError(f"the daemon was not ready within {START_WITHIN:g} s:\n{self._tail()}")
            await asyncio.sleep(LOOK)  # without a notify socket a start gives no signal
        return time.monotonic() - began

    async def _start_sender(self, target: str, secret: str) -> Child:
        order: JsonObject = {
            "url": target,
            "secret": secret,
            "log": str(self._sender_log),
            "count": EVENTS,
            "seed": secrets.randbits(32),
            "since": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        }
        sender = await Child.start(["-m", "syncd.demo.sender"], cwd=self._directory, log=self._daemon_log, pipes=True)
        assert sender.process.stdin is not None
        sender.process.stdin.write(json.dumps(order).encode() + b"\n")
        sender.process.stdin.close()
        return sender

    def _tail(self) -> str:
        return self._daemon_log.read_text(errors="replace")[-3000:]

    def _log_lines(self) -> list[JsonObject]:
        with self._sender_log.open(encoding="utf-8") as log:
            return [json.loads(line) for line in log]

    # -- the end --

    def _report(self, verdict: Verdict) -> None:
        events = f"/api/v1/webhooks/{REGISTRATION}/events"
        statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(verdict.by_status.items())) or "none"
        self._narrator.table(
            "The books",
            [
                ("different deliveries, each ended by a 2xx", f"{verdict.sent:,}", "the sender's log"),
                ("tries for that", f"{verdict.tries:,}", "the sender's log"),
                ("  without a 2xx, for the kill", f"{verdict.unanswered:,}", "the sender's log"),
                ("  answered `duplicate` (sent twice)", f"{verdict.duplicates:,}", "the sender's log"),
                ("events by status", statuses, f"GET {events}"),
                (
                    "issues stored",
                    f"{verdict.entities:,} of {verdict.expected_entities:,}",
                    f"GET /api/v1/entities/{ENTITY}",
                ),
                ("versions of them, one for each event", f"{verdict.versions:,}", f"GET /api/v1/entities/{ENTITY}"),
                ("messages waiting / parked", f"{verdict.waiting:,} / {verdict.parked:,}", "GET /api/v1/queues"),
            ],
        )
        self._narrator.result(verdict.sentence, "bold green" if verdict.good else "bold red")
        for problem in verdict.problems:
            self._narrator.result(f"Wrong: {problem}.", "red")
        if verdict.problems:
            (self._directory / _FAILED).touch()

    async def _stay(self) -> int:
        assert self._daemon is not None
        self._narrator.result("")
        self._narrator.result(f"The dashboard: {self._url}/")
        self._narrator.result(f"Its admin token is in {self._data / _TOKEN_FILE}")
        self._narrator.result(
            f'The events: curl -H "Authorization: Bearer $(cat {self._data / _TOKEN_FILE})" {self._url}/api/v1/webhooks/{REGISTRATION}/events?limit=3'
        )
        self._narrator.result("It runs until you press Ctrl-C.")
        try:
            code = await self._daemon.process.wait()
        except asyncio.CancelledError:
            self._narrator.say("Stopping. Nothing is left running; the data directory is removed.")
            return 0
        raise SyncdError(f"the daemon ended by itself with {code}:\n{self._tail()}")
