"""Stopping: in order, in time, at once, and not at all. Whatever way it ends, the work comes again.

What a process held when it was killed comes again when the next one has voided its leases (embedded), or when the broker's locks
have run out.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from syncd.domain.times import parse
from tests.acceptance import embedding
from tests.acceptance.process import Daemon, eventually
from tests.acceptance.reading import logged, parked

#: Seconds until whoever asked it to stop kills it: Docker's own default; what deploy/ sets where a balancer is in front.
KILLED_AFTER = {"embedded": 10.0, "azure": 30.0}


def program(tmp_path: Path, *args: str, config: str = "") -> tuple[Daemon, Path]:
    """A daemon with a kind of message of its own, and the journal of what became of its messages."""
    journal = tmp_path / "journal"
    file = tmp_path / "syncd.toml"
    file.write_text(config)
    daemon = Daemon(
        tmp_path / "data",
        command=embedding.command(journal, *args),
        environment={**embedding.ENVIRONMENT, "SYNCD_CONFIG": str(file)},
    )
    return daemon, journal


async def all_begun(journal: Path, count: int, *, pid: int, within: float = 60.0) -> list[embedding.Line]:
    """The lines of so many units that this process began."""
    found: list[embedding.Line] = []

    async def begun() -> bool:
        found[:] = [line for line in embedding.read(journal) if line.what == "begin" and line.pid == pid]
        return len(found) >= count

    await eventually(begun, within=within, what=f"{count} units at work")
    assert len({line.name for line in found}) == len(found) == count
    return found


@pytest.mark.slow
async def test_docker_stop_with_fifty_units_of_a_minute_loses_nothing(tmp_path: Path, backend: str) -> None:
    daemon, journal = program(tmp_path, "--messages", "50", "--seconds", "60")
    async with daemon:
        first = await all_begun(journal, 50, pid=daemon.pid)
        assert await daemon.terminate() == 0
        cut = [line for line in embedding.read(journal) if line.what == "cut"]
        assert len(cut) == 50
        [asked], [stopped] = logged(daemon, "stop_requested"), logged(daemon, "stopped")
        assert stopped["cut"] == 50
        # Without the end of the interpreter, which also writes what it measured of itself.
        took = parse(stopped["timestamp"]) - parse(asked["timestamp"])
        assert took < KILLED_AFTER[backend], "before it is killed"
        await daemon.start()
        again = await all_begun(journal, 50, pid=daemon.pid)
        assert {line.name for line in again} == {line.name for line in first}
        assert {line.count for line in again} == {1}, "a stop is not counted against the work"
        assert await parked(daemon) == []
        await daemon.kill9()


async def test_units_that_end_in_time_are_waited_for_and_done_once(tmp_path: Path) -> None:
    daemon, journal = program(tmp_path, "--messages", "20", "--seconds", "3")
    async with daemon:
        await all_begun(journal, 20, pid=daemon.pid)
        assert await daemon.terminate() == 0
        await daemon.start()
        await daemon.drained(embedding.QUEUE)
        ends = Counter(line.name for line in embedding.read(journal) if line.what == "end")
        assert set(ends.values()) == {1}
        assert len(ends) == 20


async def test_while_it_drains_it_says_so_and_takes_nothing_new(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data", environment={"SYNCD_DAEMON__LAME_DUCK": "5s"})
    async with daemon:
        registration = await daemon.register_github()
        daemon.send(signal.SIGTERM)

        async def draining() -> bool:
            answer = await daemon.request("GET", "/readyz")
            return answer.status == 503 and answer.json()["status"] == "draining"

        await eventually(draining, what="readiness 503")
        assert (await daemon.request("GET", "/healthz")).status == 200
        answer = await daemon.post_webhook(registration, b"{}", event="ping")
        assert answer.status == 200, "requests are served until the load balancer has noticed"
        assert await daemon.wait() == 0
        with pytest.raises(OSError):
            await daemon.request("GET", "/healthz")


async def test_a_second_signal_ends_it_at_once_and_the_work_comes_again(tmp_path: Path) -> None:
    config = "[daemon]\ndrain_timeout = 600\n"
    daemon, journal = program(tmp_path, "--messages", "5", "--seconds", "600", config=config)
    async with daemon:
        first = await all_begun(journal, 5, pid=daemon.pid)
        daemon.send(signal.SIGTERM)

        async def asked() -> bool:
            return bool(logged(daemon, "stop_requested"))

        await eventually(asked)
        daemon.send(signal.SIGTERM)
        assert await daemon.wait() == 128 + signal.SIGTERM, "long before the drain would be over"
        [line] = logged(daemon, "stopped_at_once")
        assert line["signal"] == "SIGTERM"
        await daemon.start()
        again = await all_begun(journal, 5, pid=daemon.pid)
        assert {line.name for line in again} == {line.name for line in first}
        await daemon.kill9()


async def test_an_interrupt_from_the_terminal_is_an_orderly_stop(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "data") as daemon:
        pid_file = daemon.data_dir / "syncd.pid"
        assert pid_file.read_text().strip() == str(daemon.pid)
        daemon.send(signal.SIGINT)
        assert await daemon.wait() == 0
        assert not pid_file.exists()
        assert "Traceback" not in daemon.log


@pytest.mark.slow
@pytest.mark.embedded  # it alone can say that nobody else holds them
async def test_a_thousand_leased_units_run_again_within_five_seconds_after_a_kill(tmp_path: Path) -> None:
    config = "[queues.sync-outbound]\nmin_receivers = 1000\nmax_receivers = 1000\n"
    daemon, journal = program(tmp_path, "--messages", "1000", "--seconds", "60", config=config)
    async with daemon:
        first = await all_begun(journal, 1000, pid=daemon.pid)
        await daemon.kill9()
        await daemon.launch()
        await daemon.ready()
        ready = time.monotonic()
        again = await all_begun(journal, 1000, pid=daemon.pid)
        assert {line.name for line in again} == {line.name for line in first}
        assert max(line.at for line in again) - ready < 5.0
        assert {line.count for line in again} == {2}, "a death is counted: a message may be what killed it"
        await daemon.kill9()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_message_that_kills_its_process_is_set_aside_after_five_deaths(tmp_path: Path) -> None:
    daemon, journal = program(tmp_path, "--messages", "1", "--seconds", "60")
    async with daemon:
        for death in range(1, 6):
            [line] = await all_begun(journal, 1, pid=daemon.pid)
            assert line.count == death
            await daemon.kill9()
            await daemon.start()

        async def aside() -> bool:
            return bool(await parked(daemon))

        await eventually(aside, what="the parked message")
        [found] = await parked(daemon)
        assert (found["bin"], found["reason"]) == ("poison", "the worker died with it 5 times")
        assert len([line for line in embedding.read(journal) if line.what == "begin"]) == 5

        async def told() -> bool:
            return bool(logged(daemon, "unit_done"))

        # Written once its completion is recorded, after the document.
        await eventually(told, what="its line in the log")
        assert logged(daemon, "unit_done")[-1]["level"] == "warning"


async def test_a_stop_while_it_starts_is_obeyed(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data")
    try:
        await daemon.launch()

        async def begun() -> bool:
            return (daemon.data_dir / "syncd.pid").exists() and _handles(daemon.pid, signal.SIGTERM)

        await eventually(begun, what="a signal handler")
        assert await daemon.terminate() == 0
        assert "Traceback" not in daemon.log
        await daemon.start()
    finally:
        await daemon.close()


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process catches a signal: SigCgt in proc_pid_status(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)
