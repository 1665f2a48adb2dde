"""The tour: its directory, its signals, its verdict. What happens in it is told by `story`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from syncd.demo.cast import Cast
from syncd.demo.connections import CONTACT, TENANT
from syncd.demo.desk import Desk
from syncd.demo.narration import Narrator
from syncd.demo.readback import Api
from syncd.demo.report import Report, read_back, show
from syncd.demo.services import services_of
from syncd.demo.story import Sizes, Story
from syncd.domain.errors import Invalid, SyncdError

#: From the first start to the last effect, on the daemon's own directory and on services. Seconds; the machine may be busy.
WORK_WITHIN, WORK_WITHIN_SHARED = 170.0, 210.0
#: A mark in the directory: the books did not balance.
_FAILED = "failed"


def guided_tour(
    *, leave: bool, contacts: int = 1000, events: int = 1000, replicas: int = 1, services: bool = False
) -> int:
    """`leave`: end after the summary instead of running on until Ctrl-C. `services`: the daemons keep everything in those that the
    environment names. 0 where the books balance, 1 where they do not, and where it was interrupted before it knew. Raises
    SyncdError where a daemon does not start, Invalid where the services are not all named, or on another machine."""
    if replicas > 1 and not services:
        raise Invalid("replicas share services: add --services, or run `make demo BACKEND=azure`, which starts them")
    shared = services_of(os.environ) if services else {}
    sizes = Sizes(contacts=contacts, events=events)
    return asyncio.run(_with_signals(sizes, leave=leave, replicas=replicas, services=shared))


async def _with_signals(sizes: Sizes, *, leave: bool, replicas: int, services: Mapping[str, str]) -> int:
    """SIGINT, SIGTERM and SIGHUP end the tour in order; a second one kills its children at once."""
    narrator = Narrator()
    with _directory(narrator) as directory:
        tour = Tour(narrator, sizes, Cast(directory, replicas=replicas, services=services))
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
    def __init__(self, narrator: Narrator, sizes: Sizes, cast: Cast) -> None:
        self._narrator = narrator
        self._sizes = sizes
        self._cast = cast

    def kill_now(self) -> None:
        self._cast.kill_now()

    async def run(self, *, leave: bool) -> int:
        cast = self._cast
        try:
            async with (
                Api(cast.urls, cast.token_file) as api,
                Desk(cast.crm_url, cast.desk_token) as crm,
                Desk(cast.mail_url, cast.desk_token) as mail,
            ):
                report = await self._show(api, crm, mail)
            if report.problems:
                (cast.directory / _FAILED).touch()
                return 1
            return 0 if leave else await self._stay()
        except aiohttp.ClientError as error:
            raise SyncdError(f"one of the processes could not be asked ({error}):\n{cast.tail()}") from error
        finally:
            await cast.leave()

    async def _show(self, api: Api, crm: Desk, mail: Desk) -> Report:
        say = self._narrator.say
        webhooks = f"{self._sizes.events:,} webhooks"
        say(f"syncd demo: two systems kept in step, {webhooks}, and a kill -9 in the middle.", "bold")
        say("Everything is made for this and thrown away afterwards; nothing of yours is read or touched.")
        say("")
        within = WORK_WITHIN_SHARED if self._cast.shared else WORK_WITHIN
        story = Story(self._cast, self._narrator, api=api, crm=crm, mail=mail, sizes=self._sizes)
        try:
            async with asyncio.timeout(within):
                await story.tell()
        except TimeoutError:
            say(f"Not done within {within:g} s; the books are balanced as they are.", "red")
        report = await read_back(self._cast, story, api=api, crm=crm, mail=mail, events=self._sizes.events)
        show(report, self._narrator)
        return report

    async def _stay(self) -> int:
        cast, say = self._cast, self._narrator.result
        url = cast.urls[-1]
        say("")
        say(f"The dashboard: {url}/" + (" (each replica has it)" if len(cast.urls) > 1 else ""))
        say(f"Its admin token is in {cast.token_file}")
        say("Try in another terminal:")
        say(f"  export SYNCD_URL={url} SYNCD_TOKEN=$(cat {cast.token_file})")
        for command in (
            f"entities list {CONTACT} --tenant {TENANT}",
            f"conflicts list --tenant {TENANT} --status open",
            "conflicts resolve ID --take ours",
            "queues parked sync-outbound",
        ):
            say(f"  syncd {command}")
        say("It runs until you press Ctrl-C.")
        try:
            await cast.ended()
        except asyncio.CancelledError:
            self._narrator.say("Stopping. Nothing is left running; what was made for this is removed.")
        return 0
