"""The children of the tour: started in groups of their own, so that Ctrl-C reaches the tour alone, and never left behind."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from syncd.domain.errors import SyncdError

#: What a child gets of the environment. Nothing else: the variables of a real deployment must not steer the demo.
_KEPT = ("PATH", "HOME", "LANG", "LC_", "TMPDIR", "TZ", "PYTHON", "VIRTUAL_ENV", "COVERAGE_", "LD_")
#: Below the ports that the system gives to outgoing connections: while the daemon is dead, one of the sender's could otherwise
#: come to stand on its port and keep it from coming back.
_PORTS = range(18080, 19080)
#: Seconds that an orderly stop may take; the daemon's own drain is 8 s.
STOP_WITHIN = 15.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Child:
    """One process; started again, it is another."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        cwd: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        pipes: bool = False,
    ) -> Child:
        """`log` gets its standard error, and its standard output where there are no `pipes`."""
        libc, parent = ctypes.CDLL(None), os.getpid()

        def die_with_parent() -> None:
            if hasattr(libc, "prctl"):  # Linux: a tour that is killed takes its children with it
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it was killed before the signal was set
                os._exit(1)

        with log.open("ab") as written:
            return cls(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *command,
                    stdin=asyncio.subprocess.PIPE if pipes else asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE if pipes else written,
                    stderr=written,
                    cwd=cwd,
                    env={**kept_environment(), **(environment or {})},
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
            )

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    async def kill9(self) -> None:
        """Gone when it returns."""
        self.kill_now()
        await self.process.wait()

    def kill_now(self) -> None:
        if self.running:
            with suppress(ProcessLookupError):
                self.process.kill()

    async def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.running:
            with suppress(ProcessLookupError):
                self.process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await self.process.wait()
            except TimeoutError:
                await self.kill9()


def kept_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now. Raises SyncdError."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise SyncdError(f"every port from {_PORTS.start} to {_PORTS.stop - 1} is taken on this machine")
