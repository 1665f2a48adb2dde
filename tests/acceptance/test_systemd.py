"""What the service manager is told, over a real notify socket: `Type=notify-reload` and the watchdog."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.process import Daemon, eventually

State = dict[str, str]


class NotifySocket:
    """The manager's end of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self.states: list[tuple[float, State]] = []

    def read(self) -> list[State]:
        while True:
            try:
                datagram = self._socket.recv(64 * 1024)
            except BlockingIOError:
                return [state for _, state in self.states]
            lines = datagram.decode().splitlines()
            self.states.append((time.monotonic(), dict(line.split("=", 1) for line in lines)))

    async def expect(self, key: str, value: str = "1", *, after: int = 0) -> int:
        """Wait for a state among those past the first `after`; its position."""

        def position() -> int | None:
            return next((at for at, state in enumerate(self.read()) if at >= after and state.get(key) == value), None)

        async def there() -> bool:
            return position() is not None

        await eventually(there, what=f"{key}={value}")
        found = position()
        assert found is not None
        return found

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def supervised(tmp_path: Path, **environment: str) -> AsyncIterator[tuple[Daemon, NotifySocket, Path]]:
    config = tmp_path / "syncd.toml"
    config.write_text("")
    notify = NotifySocket(tmp_path / "notify")
    daemon = Daemon(
        tmp_path / "data",
        args=["--config", str(config)],
        environment={"NOTIFY_SOCKET": str(notify.path), **environment},
    )
    try:
        async with daemon:
            yield daemon, notify, config
    finally:
        notify.close()


def clock() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


async def test_ready_is_said_once_the_daemon_may_be_used(tmp_path: Path) -> None:
    notify = NotifySocket(tmp_path / "notify")
    daemon = Daemon(tmp_path / "data", environment={"NOTIFY_SOCKET": str(notify.path)})
    try:
        await daemon.launch()
        await notify.expect("READY")
        assert (await daemon.request("GET", "/readyz")).status == 200, "at the very first try"
        assert await daemon.terminate() == 0
        stopping = await notify.expect("STOPPING")
        assert stopping == len(notify.read()) - 1, "the last word"
    finally:
        await daemon.close()
        notify.close()


async def test_a_reload_is_announced_with_its_time_and_ended_with_ready(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (daemon, notify, config):
        ready = await notify.expect("READY")
        config.write_text("[webhooks]\nrate = 7\n")
        asked = clock()
        daemon.hup()
        reloading = await notify.expect("RELOADING", after=ready + 1)
        assert asked <= int(notify.read()[reloading]["MONOTONIC_USEC"]) <= clock()
        done = await notify.expect("READY", after=reloading + 1)
        assert done == reloading + 1
        assert notify.read()[done]["STATUS"] == "generation 2"


async def test_a_reload_of_a_bad_file_ends_with_ready_too_and_says_what_is_wrong(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (daemon, notify, config):
        ready = await notify.expect("READY")
        config.write_text("[webhooks]\nrat = 7\n")
        daemon.hup()
        reloading = await notify.expect("RELOADING", after=ready + 1)
        done = await notify.expect("READY", after=reloading + 1)
        status = notify.read()[done]["STATUS"]
        assert f"{config}:2" in status
        assert "webhooks.rat" in status
        assert "runs on as before" in status
        assert (await daemon.request("GET", "/readyz")).status == 200


async def test_the_watchdog_is_fed_in_half_its_time_while_the_daemon_works(tmp_path: Path) -> None:
    timeout = 4.0
    async with supervised(tmp_path, WATCHDOG_USEC=str(int(timeout * 1e6))) as (_, notify, _config):
        await notify.expect("READY")

        async def three() -> bool:
            return sum(1 for state in notify.read() if "WATCHDOG" in state) >= 3

        await eventually(three)
        pings = [at for at, state in notify.states if "WATCHDOG" in state]
        # Half the time each; a busy machine may be late, but two in a row may not be.
        assert (pings[2] - pings[0]) / 2 < timeout


@pytest.mark.parametrize("address", ["/nonexistent/notify", "relative"])
async def test_a_manager_that_cannot_be_reached_does_not_keep_it_from_running(tmp_path: Path, address: str) -> None:
    async with Daemon(tmp_path / "data", environment={"NOTIFY_SOCKET": address}) as daemon:
        assert "notify_failed" in daemon.log
        assert address in daemon.log
        assert await daemon.terminate() == 0


async def test_a_watchdog_for_another_process_is_left_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path, WATCHDOG_USEC="200000", WATCHDOG_PID="1") as (daemon, notify, _config):
        await notify.expect("READY")
        assert await daemon.terminate() == 0
        await notify.expect("STOPPING")
        assert not any("WATCHDOG" in state for state in notify.read())
