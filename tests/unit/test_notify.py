"""systemd's notify and watchdog protocols, over real unix datagram sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from syncd.runtime.notify import Notifier
from syncd.runtime.watchdog import Watchdog, watchdog_timeout


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, bind: str, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(bind)
        self._socket.settimeout(10)

    def message(self) -> dict[str, str]:
        lines = self._socket.recv(65536).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def silent(self) -> bool:
        self._socket.setblocking(False)
        try:
            return not self._socket.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(10)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    if request.param == "path":
        made = Manager(str(tmp_path / "notify"), str(tmp_path / "notify"))
    else:
        name = f"syncd-test-{os.getpid()}-{time.monotonic_ns()}"
        made = Manager("\0" + name, "@" + name)
    yield made
    made.close()


def test_ready_says_so_and_shows_a_status_line(manager: Manager) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": manager.address}).ready("serving on port 8080")
    assert manager.message() == {"READY": "1", "STATUS": "serving on port 8080"}


def test_reloading_carries_the_monotonic_time_in_the_same_message(manager: Manager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(address=manager.address).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    message = manager.message()
    assert message.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= after


def test_every_other_state_has_its_own_message(manager: Manager) -> None:
    notifier = Notifier(address=manager.address)
    notifier.stopping("draining 3 units of work")
    notifier.status("degraded:\n the broker\nis away")
    notifier.watchdog()
    notifier.extend_timeout(12.5)
    assert [manager.message() for _ in range(4)] == [
        {"STOPPING": "1", "STATUS": "draining 3 units of work"},
        {"STATUS": "degraded: the broker is away"},
        {"WATCHDOG": "1"},
        {"EXTEND_TIMEOUT_USEC": "12500000"},
    ]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_socket_nothing_is_sent_and_nothing_fails(environment: dict[str, str]) -> None:
    notifier = Notifier.from_environment(environment)
    assert not notifier.supervised
    assert not notifier.ready("never seen")


@pytest.mark.parametrize(
    "address", ["/nowhere/at/all", "relative", "vsock:2:1234", "/" + "x" * 200, "@\0", "/dev/null"]
)
def test_a_wrong_socket_is_observed_once_and_never_fails(address: str) -> None:
    seen: list[str] = []
    notifier = Notifier(address=address, observe=lambda event, /, **facts: seen.append(f"{event} {facts['address']}"))
    assert [notifier.ready(), notifier.watchdog(), notifier.stopping()] == [False, False, False]
    assert seen == [f"notify_failed {address}"]


def test_a_manager_that_does_not_read_never_blocks_us(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "full"), str(tmp_path / "full"))
    notifier = Notifier(address=manager.address)
    answers = [notifier.status("x" * 1000) for _ in range(2000)]
    manager.close()
    assert answers[0]
    assert not answers[-1], "the socket's queue was full, and the answer says that nothing left"


def test_the_next_failure_after_a_success_is_observed_again(tmp_path: Path) -> None:
    seen: list[str] = []
    notifier = Notifier(address=str(tmp_path / "notify"), observe=lambda event, /, **facts: seen.append(event))
    notifier.ready()
    manager = Manager(str(tmp_path / "notify"), str(tmp_path / "notify"))
    assert notifier.ready()
    manager.close()
    notifier.ready()
    assert seen == ["notify_failed", "notify_failed"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_the_watchdog_runs_only_where_systemd_wants_it_of_this_process(
    environment: dict[str, str], expected: float | None
) -> None:
    assert watchdog_timeout(environment, pid=77) == expected


class SteppedClock:
    """Sleeps until the test steps it on."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._sleeping = asyncio.Event()
        self._steps = asyncio.Semaphore(0)

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._sleeping.set()
        await self._steps.acquire()

    async def asleep(self) -> None:
        await self._sleeping.wait()

    async def step(self) -> None:
        """Let one sleep end, and wait for the next."""
        await self.asleep()
        self._sleeping.clear()
        self._steps.release()
        await self.asleep()


async def test_the_watchdog_pings_at_half_the_timeout_while_all_makes_progress(manager: Manager) -> None:
    async def all_well() -> Sequence[str]:
        return []

    clock = SteppedClock()
    watchdog = Watchdog(notifier=Notifier(address=manager.address), timeout=30.0, progress=all_well, clock=clock)
    task = asyncio.create_task(watchdog.run())
    await clock.step()
    await clock.step()
    task.cancel()
    assert [manager.message() for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
    assert manager.silent()
    assert clock.asked == [15.0, 15.0, 15.0]


async def test_no_ping_leaves_while_something_is_stuck_and_they_return_when_it_moves(manager: Manager) -> None:
    async def hang() -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async def break_down() -> Sequence[str]:
        raise RuntimeError("the check is broken")

    async def stuck() -> Sequence[str]:
        return ["worker sync-inbound"]

    async def all_well() -> Sequence[str]:
        return []

    checks = iter([stuck, hang, break_down, all_well])
    said: list[object] = []
    clock = SteppedClock()
    watchdog = Watchdog(
        notifier=Notifier(address=manager.address),
        timeout=0.2,
        progress=lambda: next(checks)(),
        clock=clock,
        observe=lambda event, /, **facts: said.append(facts["stuck"]),
    )
    task = asyncio.create_task(watchdog.run())
    await clock.step()
    await clock.step()
    assert manager.silent()
    await clock.step()
    task.cancel()
    assert manager.message() == {"WATCHDOG": "1"}
    assert said[0] == "worker sync-inbound"
    assert "for more than 0.05 s" in str(said[1])
    assert "the check is broken" in str(said[2])
