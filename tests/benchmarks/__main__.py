"""`make bench`: every figure that the README shows, each beside its reference of the same run.

    python -m tests.benchmarks [name ...]      webhooks jobs batch deep idle recovery documents limiter shared planner process
                                               pull push latency cosmos servicebus servicebus-webhooks

Each benchmark runs in a process of its own: what one left behind in memory must not weigh on the next.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable

from tests.benchmarks import (
    cosmos_pulls,
    cosmos_records,
    documents,
    jobs,
    latency,
    limiter,
    planner,
    process,
    pulls,
    pushes,
    queue_references,
    servicebus,
    servicebus_webhooks,
    shared_limiter,
    webhooks,
)
from tests.benchmarks.world import run

Row = tuple[str, str, str, str]
"""What, figure, reference of the same run, wanted."""


def _webhooks() -> list[Row]:
    f = asyncio.run(webhooks.measure())
    bare = f"aiohttp handler that reads the body: {f['reference/s']:,.0f}/s, p99 {f['reference p99 ms']:.1f} ms"
    applied = (
        f"{f['all/s']:,.0f}/s, {f['all ratio']:.2f} x, p99 {f['all p99 ms']:.1f} ms; {f['all waiting']:,.0f} were still"
        f" waiting when the load ended, and processed {f['all processed s']:.1f} s later"
    )
    return [
        (
            "webhook accept, `--role webhooks`, 64 connections, 1 KB",
            f"{f['webhooks/s']:,.0f}/s, **{f['webhooks ratio']:.2f} x**, p99 {f['webhooks p99 ms']:.1f} ms",
            bare,
            "0.42 x, p99 <= 12 ms",
        ),
        (
            "- the HTTP side alone, nothing stored",
            f"{f['stripped/s']:,.0f}/s, {f['stripped ratio']:.2f} x, p99 {f['stripped p99 ms']:.1f} ms",
            bare,
            "-",
        ),
        (
            "- all roles on, events applied meanwhile",
            applied,
            bare,
            "-",
        ),
    ]


def _jobs() -> list[Row]:
    ours = _median(lambda: run(jobs.single))
    theirs = queue_references.measure(5000)
    best = max(theirs, key=lambda name: theirs[name])
    named = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in theirs.items())
    return [
        (
            "jobs, 64 producers each awaiting its own commit, until complete (fsync before every answer)",
            f"{ours:,.0f}/s, **{ours / theirs[best]:.1f} x**",
            f"{named} ({queue_references.DURABILITY})",
            "4 x the faster",
        )
    ]


def _batch() -> list[Row]:
    rate = _median(lambda: run(jobs.batch))
    return [("jobs, producers that enqueue batches of 100", f"**{rate:,.0f}/s**", "-", "20,000/s")]


def _deep() -> list[Row]:
    figures = run(jobs.deep)
    small, large = sorted(figures)
    return [
        (
            "the same with 1,000,000 waiting: store time of a job (enqueue, lease, complete)",
            f"{figures[large]:.0f} us, **{figures[large] / figures[small]:.2f} x**, {1e6 / figures[large]:,.0f}/s",
            f"with 10,000 waiting: {figures[small]:.0f} us",
            "<= 2.5 x, >= 12,000/s",
        )
    ]


def _idle() -> list[Row]:
    median, p99 = run(jobs.idle)
    return [("idle: enqueue -> handler starts", f"median {median:.1f} ms, **p99 {p99:.1f} ms**", "-", "p99 <= 10 ms")]


def _recovery() -> list[Row]:
    seconds = asyncio.run(process.recovery())
    return [("kill -9 with 1,000 leased: all running again after READY", f"**{seconds:.2f} s**", "-", "<= 5 s")]


def _documents() -> list[Row]:
    median, p99 = asyncio.run(documents.by_id())
    return [
        (
            "GET by id over HTTP at 1,000,000 documents",
            f"median {median:.1f} ms, **p99 {p99:.1f} ms**",
            "-",
            "p99 <= 5 ms",
        )
    ]


def _limiter() -> list[Row]:
    rate = _median(lambda: run(limiter.admitted))
    return [("limiter, three levels, in process", f"**{rate:,.0f}/s**", "-", "200,000/s")]


def _shared() -> list[Row]:
    f = asyncio.run(shared_limiter.measure())
    empty = f"redis-py, one EVALSHA of an empty script for each: {f['empty']:,.0f}/s"
    return [
        (
            "limiter over Redis, three levels, 64 callers at once",
            f"{f['take']:,.0f}/s, **{f['take ratio']:.2f} x**",
            empty,
            "0.8 x",
        ),
        (
            f"- with blocks of at most {shared_limiter.BLOCK} units taken ahead",
            f"{f['leased']:,.0f}/s, **{f['leased ratio']:.1f} x**",
            empty,
            "5 x",
        ),
    ]


def _planner() -> list[Row]:
    due, none = asyncio.run(planner.measure())
    return [
        (
            "planner tick of 100 due tasks beside 100,000 that have ended, queued and sent",
            f"**{due:.1f} ms** (none due: {none:.1f} ms)",
            "-",
            "<= 20 ms",
        )
    ]


def _process() -> list[Row]:
    ready, weight = asyncio.run(process.idle())
    return [("idle daemon", f"RSS **{weight:.0f} MB**, ready after **{ready:.2f} s**", "-", "<= 90 MB, <= 1 s")]


def _pull() -> list[Row]:
    f = asyncio.run(pulls.measure())
    return [
        (
            "pull of 100,000 records in pages of 100: dedupe, merge, store",
            f"{f['pull/s']:,.0f}/s, **{f['pull / dlt']:.1f} x** dlt, **{f['pull / pages']:.2f} x** the pages",
            f"dlt (REST -> DuckDB, merge): {f['dlt/s']:,.0f}/s; only fetching and decoding the pages: {f['pages/s']:,.0f}/s",
            "8 x dlt, 0.15 x the pages",
        ),
        (
            "the same 100,000 again, unchanged",
            f"{f['re-pull/s']:,.0f}/s, **{f['re-pull / pull']:.1f} x**",
            f"the first pull: {f['pull/s']:,.0f}/s",
            "2 x",
        ),
    ]


def _push() -> list[Row]:
    seconds, bare, bound = pushes.measure()
    alone = f"the HTTP client alone, nothing read or stored: {bare:.2f} s, {bound / bare:.2f} of the bound"
    return [
        (
            "push of 1,000 changes over 4 connections to a system that takes 20 ms, 50 receivers",
            f"{seconds:.2f} s, **{bound / seconds:.2f}** of the bound",
            f"the bound: 1,000 x 20 ms / 50 = {bound:.2f} s; {alone}",
            "0.7",
        )
    ]


def _latency() -> list[Row]:
    median, p99 = asyncio.run(latency.measure())
    return [
        (
            "one record, idle: webhook in -> push at the second system",
            f"median {median:.1f} ms, **p99 {p99:.1f} ms**",
            "-",
            "p99 <= 50 ms",
        )
    ]


def _cosmos() -> list[Row]:
    f = asyncio.run(cosmos_records.measure())
    return [
        (
            "Cosmos DB, 5 ms away: a page of 100 new records of one partition, entities and aliases",
            f"**{f['trips']:.0f} round trips**, {f['seconds'] * 1000:.0f} ms, {f['ratio']:.1f} x",
            f"200 single upserts, all at once: {f['single trips']:.0f} round trips, {f['single seconds'] * 1000:.0f} ms",
            "2-4 round trips",
        )
    ]


def _cosmos_pull() -> list[Row]:
    f = asyncio.run(cosmos_pulls.measure())

    def row(name: str, what: str, wanted: str) -> Row:
        cost = f"{f[f'{name}trips']:,.0f} round trips, {f[f'{name}units']:,.0f} RU"
        figures = f"{f[f'{name}far/s']:,.0f}/s, **{f[f'{name}ratio']:.2f} x**; {cost}"
        return (what, figures, f"itself with 0 ms: {f[f'{name}near/s']:,.0f}/s", wanted)

    return [
        row("", "Cosmos DB, 5 ms away: pull of 10,000 records", "0.3 x"),
        row("again ", "- the same 10,000 again, unchanged", "-"),
    ]


def _servicebus() -> list[Row]:
    f = asyncio.run(servicebus.measure())
    return [
        (
            "Service Bus: receive -> no-op -> settle, one process",
            f"{f['ours']:,.0f}/s, **{f['ratio']:.2f} x**",
            f"the SDK alone, 50 received and completed together: {f['sdk']:,.0f}/s (double in its own process)",
            "0.8 x",
        )
    ]


def _servicebus_webhooks() -> list[Row]:
    f = asyncio.run(servicebus_webhooks.measure())
    daemon, broker = f["syncd us, accept"] + f["syncd us, send"], f["syncd us, broker"]
    ours = f"**{f['syncd/s']:,.0f}/s**, {f['ratio']:.0f} x, **p99 {f['syncd p99 ms']:.0f} ms** (p50 {f['syncd p50 ms']:.0f} ms)"
    return [
        (
            "webhook accepted into Service Bus, `--role webhooks`, 64 connections, 5 ms to the broker",
            f"{ours}; CPU of a message: {daemon:.0f} us here, {broker:.0f} us in the double",
            f"64 handlers with one sender, one send each: {f['reference/s']:,.0f}/s, p99 {f['reference p99 ms']:.0f} ms",
            "4,000/s, p99 <= 60 ms",
        )
    ]


def _median(measure: Callable[[], float], rounds: int = 3) -> float:
    return sorted(measure() for _ in range(rounds))[rounds // 2]


BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "webhooks": _webhooks,
    "jobs": _jobs,
    "batch": _batch,
    "deep": _deep,
    "idle": _idle,
    "recovery": _recovery,
    "documents": _documents,
    "limiter": _limiter,
    "shared": _shared,
    "planner": _planner,
    "process": _process,
    "pull": _pull,
    "push": _push,
    "latency": _latency,
    "cosmos": _cosmos,
    "cosmos-pull": _cosmos_pull,
    "servicebus": _servicebus,
    "servicebus-webhooks": _servicebus_webhooks,
}


def main(names: list[str]) -> int:
    if names and names[0] == "--one":
        sys.stdout.write(json.dumps(BENCHMARKS[names[1]]()))
        return 0
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}\n")
        return 2
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| what | syncd | reference in the same run | wanted |\n|---|---|---|---|")
    failed = False
    for name in names or BENCHMARKS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks", "--one", name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            failed = True
            sys.stderr.write(f"{name} failed:\n{done.stderr[-3000:]}\n")
            continue
        for row in json.loads(done.stdout):
            print("| " + " | ".join(row) + " |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
