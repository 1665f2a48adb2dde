"""A Functions `host.json`: what has a counterpart in syncd, and why the rest has none.

https://learn.microsoft.com/azure/azure-functions/functions-host-json
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from syncd.domain.jsontypes import Json, JsonObject

#: name in host.json, key here (None: none), value, remark.
HostRow = tuple[str, str | None, Json, str]

_TIME_SPAN = re.compile(r"(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{2}):(?P<seconds>\d{2})(?:\.\d+)?")
_LEVELS = {
    "trace": "debug",
    "debug": "debug",
    "information": "info",
    "warning": "warning",
    "error": "error",
    "critical": "error",
    "none": "error",
}
#: Beginning of a name -> why it has no counterpart. The most specific first.
_OBSOLETE: tuple[tuple[str, str], ...] = (
    ("version", "the format of host.json itself"),
    ("extensionBundle", "syncd loads no binding extensions"),
    ("extensions.serviceBus.prefetchCount", "leases are taken in batches as workers become free"),
    ("extensions.serviceBus.autoComplete", "a message is completed when its effects are durable, always"),
    (
        "extensions.serviceBus.maxAutoLockRenewalDuration",
        "leases are renewed until the unit ends: queues.<name>.hard_limit",
    ),
    ("extensions.serviceBus.maxConcurrentSessions", "order is kept per entity by its document"),
    ("extensions.serviceBus", "syncd owns its receivers: see [queues.<name>]"),
    ("extensions.http.routePrefix", "addresses in use are served beside the new ones"),
    ("extensions.http", "syncd has its own server: see [http]"),
    ("extensions.timers", "schedules are jobs.<name>.schedule"),
    ("extensions", "syncd has no bindings"),
    ("logging.applicationInsights", "sampling is 1 in N successes: telemetry.sample; failures are always written"),
    ("logging.logLevel", "one level for all: telemetry.log_level"),
    ("logging", "see [telemetry]"),
    ("singleton", "one run at a time is kept by a document, not by a blob lease"),
    ("retry", "waits are sync.retry_delays, with jitter"),
    ("functions", "which parts run is daemon.roles"),
    ("healthMonitor", "see /healthz and /readyz"),
    ("aggregator", "metrics are at /metrics"),
    ("concurrency", "receivers scale between queues.<name>.min_receivers and max_receivers"),
)


def is_host_file(text: str) -> bool:
    """A JSON object with a version and without Values."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "Values" not in document and isinstance(document.get("version"), str)


def host_rows(document: JsonObject) -> Iterator[HostRow]:
    for name, value in _leaves(document, ""):
        yield from _rows(name, value)


def _leaves(table: Mapping[str, Json], above: str) -> Iterator[tuple[str, Json]]:
    for name, value in table.items():
        dotted = f"{above}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted, value


def _rows(name: str, value: Json) -> Iterator[HostRow]:
    if name == "functionTimeout":
        yield from _function_timeout(name, value)
    elif name.startswith("extensions.serviceBus.") and name.endswith(".maxConcurrentCalls"):
        yield from _receivers(name, value)
    elif name == "extensions.http.maxConcurrentRequests" and _positive(value):
        yield name, "http.max_connections", value, str(value)
    elif name == "retry.maxRetryCount" and isinstance(value, int) and 0 <= value <= 100:
        yield name, "sync.max_retries", value, str(value)
    elif name == "logging.logLevel.default" and str(value).lower() in _LEVELS:
        level = _LEVELS[str(value).lower()]
        yield name, "telemetry.log_level", level, f'"{level}"'
    elif name == "logging.applicationInsights.samplingSettings.isEnabled" and value is False:
        yield name, "telemetry.sample", 1, "1: every success gets its line"
    else:
        reason = next((why for beginning, why in _OBSOLETE if name.startswith(beginning)), "of the Functions host")
        yield name, None, None, reason


def _positive(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100_000


def _receivers(name: str, value: Json) -> Iterator[HostRow]:
    if not _positive(value):
        yield name, None, None, f"{value!r} is not a number of receivers"
        return
    receivers = min(int(value), 1000)
    for queue in ("sync-inbound", "sync-outbound"):
        yield name, f"queues.{queue}.max_receivers", receivers, str(receivers)


def _function_timeout(name: str, value: Json) -> Iterator[HostRow]:
    match = _TIME_SPAN.fullmatch(str(value))
    if match is None:
        yield name, None, None, "no bound there; here each queue and job has its own (queues.<name>.hard_limit)"
        return
    parts = {unit: int(number or 0) for unit, number in match.groupdict().items()}
    seconds = parts["days"] * 86400 + parts["hours"] * 3600 + parts["minutes"] * 60 + parts["seconds"]
    if not 1 <= seconds <= 3600:
        yield (
            name,
            None,
            None,
            "no call waits that long here; queues.<name>.hard_limit and jobs.<name>.timeout bound work",
        )
        return
    yield (
        name,
        "finops.timeout",
        seconds,
        f"{seconds} s, the bound of the cost trigger's POST; queues and jobs have their own",
    )
    settled = seconds + 7200
    if settled > 8100:
        yield name, "jobs.finops-daily-sync.timeout", settled, f"{settled} s: the POST and the time to settle"
