"""How many no-op jobs per second Taskiq and Celery do on this machine, from enqueue to done: what syncd's engine is held against.

64 producers, each waiting for its own enqueue, run while the workers work; the clock stops when the broker holds nothing that is
not acknowledged. The Redis server is private to the run, on a free loopback port, with `appendonly everysec`: what it accepted in
the last second before a power cut is lost (syncd's own answer is given after the fsync).

    python -m tests.benchmarks.queue_references [jobs]
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.acceptance.process import free_port

ROOT = Path(__file__).parents[2]
PRODUCERS = 64
#: What the figures are called wherever they are shown.
DURABILITY = "Redis appendonly everysec: up to a second of accepted jobs is lost in a power cut"
#: Processes that work: the machine's cores are shared by the producers, Redis and them.
TASKIQ_WORKERS = 1
CELERY_CONCURRENCY = 2
APPS = "tests.benchmarks.queue_reference_apps"


@contextmanager
def redis_server() -> Iterator[str]:
    """A private server; its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise FileNotFoundError("redis-server is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", place, "--save", ""]
        with subprocess.Popen(
            [*command, "--appendonly", "yes", "--appendfsync", "everysec"], stdout=subprocess.DEVNULL
        ) as server:
            try:
                with redis.Redis(port=port) as client:
                    _until(lambda: _answers(client), "redis-server")
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                server.terminate()


@contextmanager
def worker(url: str, *command: str) -> Iterator[None]:
    """A library's own worker, stopped as its users stop it."""
    environment = {**os.environ, "QUEUE_REFERENCE_URL": url}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield
        except TimeoutError as error:
            log.seek(0)
            error.add_note(log.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def taskiq(jobs: int, rounds: int) -> list[float]:
    """Jobs per second of each round."""
    with (
        redis_server() as url,
        redis.Redis.from_url(url) as client,
        worker(
            url, "taskiq", "worker", f"{APPS}:broker", "--workers", str(TASKIQ_WORKERS), "--max-async-tasks", "1000",
            "--no-parse", "--log-level", "ERROR",
        ),
    ):  # fmt: skip
        sent = 0

        def done() -> bool:
            groups = client.xinfo_groups("reference") if client.exists("reference") else []
            return bool(groups) and groups[0]["entries-read"] == sent and groups[0]["pending"] == 0

        figures = []
        for count in (PRODUCERS, *[jobs] * rounds):  # the first warms up the worker
            sent += count
            began = time.perf_counter()
            _run_taskiq_producers(url, count)
            _until(done, "Taskiq")
            figures.append(count / (time.perf_counter() - began))
        return figures[1:]


def _run_taskiq_producers(url: str, jobs: int) -> None:
    os.environ["QUEUE_REFERENCE_URL"] = url
    from tests.benchmarks import queue_reference_apps as apps  # reads its URL when it is imported

    async def produce(mine: int) -> None:
        for _ in range(mine):
            await apps.nothing.kiq()

    async def main() -> None:
        await apps.broker.startup()
        await asyncio.gather(*(produce(mine) for mine in _shares(jobs)))
        await apps.broker.shutdown()

    _loop_factory()(main())


def celery(jobs: int, rounds: int) -> list[float]:
    """Jobs per second of each round."""
    with (
        redis_server() as url,
        redis.Redis.from_url(url) as client,
        worker(
            url, "celery", "-A", f"{APPS}:app", "worker", "--pool", "prefork", "--concurrency", str(CELERY_CONCURRENCY),
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR",
        ),
    ):  # fmt: skip

        def done() -> bool:
            return client.llen("celery") == 0 and client.hlen("unacked") == 0

        figures = []
        for count in (PRODUCERS, *[jobs] * rounds):
            began = time.perf_counter()
            _run_celery_producers(url, count)
            _until(lambda: done() and done() and done(), "Celery")  # between pop and bookkeeping a job is in neither
            figures.append(count / (time.perf_counter() - began))
        return figures[1:]


def _run_celery_producers(url: str, jobs: int) -> None:
    os.environ["QUEUE_REFERENCE_URL"] = url
    from tests.benchmarks import queue_reference_apps as apps  # reads its URL when it is imported

    apps.app.conf.broker_url = url

    def produce(mine: int) -> None:
        with apps.app.producer_or_acquire() as producer:
            for _ in range(mine):
                apps.celery_nothing.apply_async(producer=producer)

    threads = [threading.Thread(target=produce, args=(mine,)) for mine in _shares(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(jobs: int, *, rounds: int = 3) -> dict[str, float]:
    """Jobs per second, the median of the rounds, by library. Raises FileNotFoundError where redis-server is missing."""
    figures = {}
    for name, run in (("taskiq", taskiq), ("celery", celery)):
        figures[name] = statistics.median(_in_own_process(run, jobs, rounds))
    return figures


def _in_own_process(run: Callable[[int, int], list[float]], jobs: int, rounds: int) -> list[float]:
    """The libraries keep pools and URLs for the life of a process, and must not warm up or slow down what is measured next."""
    program = f"from {__name__ if __name__ != '__main__' else 'tests.benchmarks.queue_references'} import {run.__name__} as run\n"
    program += f"print(*run({jobs}, {rounds}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{run.__name__} could not be measured:\n{done.stderr[-4000:]}")
    return [float(figure) for figure in done.stdout.splitlines()[-1].split()]


def _shares(jobs: int) -> list[int]:
    return [jobs // PRODUCERS + (number < jobs % PRODUCERS) for number in range(PRODUCERS)]


def _loop_factory() -> Callable[..., object]:
    """As Taskiq's worker does: uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _until(check: Callable[[], bool], what: str, *, within: float = 300.0) -> None:
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not get there within {within:g} s")
        time.sleep(0.005)  # another process gives no signal; 5 ms are lost in runs of seconds


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{jobs:,} no-op jobs, {PRODUCERS} producers; {DURABILITY}")
    for name, figure in measure(jobs).items():
        print(f"  {name:8} {figure:10,.0f} jobs/s from enqueue to done")


if __name__ == "__main__":
    main()
