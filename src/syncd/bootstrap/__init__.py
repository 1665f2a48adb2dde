"""The composition root: settings -> ports -> flows -> one generation -> the daemon. Only this package knows every name.

backend.py     opens what stands behind each port: the embedded store, or services (services.py, servicechecks.py)
ports.py       the ports as flows get them: claim check, shapes, limits and credentials around the backend
flows.py       the use-cases over those ports
secrets.py     what the log must never write
generation.py  one immutable graph of settings, flows, handlers, jobs and HTTP services; a reload builds the next
control.py     which generation is in force, and how a reload puts the next in its place
process.py     the daemon around them: services, signals, exit code
offline.py     the same store without a daemon, for the command line
"""

from __future__ import annotations

import gc
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from syncd.bootstrap.checks import Row
    from syncd.settings import Loaded


def run(loaded: Loaded) -> int:
    """The daemon until it is told to stop; its exit code."""
    # A reload that is asked for while the daemon starts waits until it can be answered; by default the signal would end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # Importing makes much and drops little: the collector would walk it all a dozen times. It begins when the daemon is ready.
    gc.disable()
    from syncd.bootstrap.process import run_daemon

    return run_daemon(loaded)


async def check(loaded: Loaded, *, create: bool = False) -> list[Row]:
    """Look at every dependency and right: (name, status, detail, fix) each. `create`: make what is missing."""
    from syncd.bootstrap.checks import check_all

    return await check_all(loaded, create=create)


def serve_for_cli(loaded: Loaded) -> AbstractAsyncContextManager[tuple[str, str]]:
    """(address, token) of the admin API over the store, while no daemon runs."""
    from syncd.bootstrap.offline import serve

    return serve(loaded)
