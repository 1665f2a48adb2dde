"""A program that embeds the daemon with a kind of message and a job of its own, and keeps a journal of what becomes of them.

    python -m tests.acceptance.embedding JOURNAL [--messages N] [--seconds S] [--schedule "every 2s"]

The messages are sent once, before the first start, through the ports that the daemon opens. A unit takes S seconds and looks at no signal, as a handler that
was written without a thought for stopping. The journal is what an outside observer of the effects would have seen: it is written
line by line, beside the store and never through it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from syncd.adapters.embedded.clock import SystemClock
from syncd.bootstrap.ports import open_ports
from syncd.bootstrap.process import run_daemon
from syncd.domain.messages import Envelope
from syncd.domain.outcomes import DONE, Outcome
from syncd.domain.schedules import parse_schedule
from syncd.flows.jobs import Job, Tick, TickResult
from syncd.ports.observe import ignore
from syncd.ports.queue import Message
from syncd.runtime.lock import DataDirectory
from syncd.runtime.work import Handler, Work
from syncd.settings import Settings, find_config, load

QUEUE = "sync-outbound"
KIND = "acceptance"
JOB = "acceptance-job"
REPOSITORY = Path(__file__).parents[2]


def command(journal: Path, *args: str) -> list[str]:
    """What starts it as a process."""
    return [sys.executable, "-m", "tests.acceptance.embedding", str(journal), *args]


#: So that the process finds this module wherever it is started.
ENVIRONMENT: Mapping[str, str] = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the journal. `at` is on the monotonic clock, in seconds."""

    at: float
    pid: int
    what: str
    """`begin`, `end`, or `cut` where the unit was cancelled."""
    name: str
    """The message's origin, or the tick."""
    count: int
    """Deliveries of the message's hop, or the term of the tick."""


def read(journal: Path) -> list[Line]:
    text = journal.read_text() if journal.exists() else ""
    return [Line(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


class _Journal:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, name: str, count: int) -> None:
        line = {"at": time.monotonic(), "pid": os.getpid(), "what": what, "name": name, "count": count}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    async def unit(self, name: str, count: int, seconds: float) -> None:
        self.write("begin", name, count)
        try:
            await asyncio.sleep(seconds)  # the length of the unit is what the tests are about
        except asyncio.CancelledError:
            self.write("cut", name, count)
            raise
        self.write("end", name, count)


async def _send(settings: Settings, count: int) -> None:
    messages = [Message(Envelope(kind=KIND, origin_id=f"unit-{number}")) for number in range(count)]
    async with open_ports(settings, clock=SystemClock(), observe=ignore, boot="sender") as ports:
        await ports.queue.send(QUEUE, messages)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal", type=Path)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--schedule")
    given = parser.parse_args()
    loaded = load(find_config(None, os.environ), (), os.environ)
    sent = given.journal.with_suffix(".sent")
    if given.messages and not sent.exists():
        with DataDirectory(loaded.settings.daemon.data_dir, boot="sender", now=time.time):
            asyncio.run(_send(loaded.settings, given.messages))
        sent.touch()
    journal = _Journal(given.journal)

    async def handle(work: Work) -> Outcome:
        await journal.unit(work.envelope.origin_id, work.delivery.deliveries, given.seconds)
        return DONE

    async def tick(tick: Tick) -> TickResult:
        await journal.unit(tick.id, tick.term, given.seconds)
        return TickResult()

    jobs = []
    if given.schedule:
        jobs.append(Job(name=JOB, schedule=parse_schedule(given.schedule), run=tick, missed="all", overlap="queue"))
    return run_daemon(loaded, extra_handlers={KIND: Handler(handle=handle)}, extra_jobs=jobs)


if __name__ == "__main__":
    sys.exit(main())
