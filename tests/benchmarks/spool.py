"""Webhooks accepted into the spool while the broker is away, beside the embedded queue's own commit, both under wrk.

python -m tests.benchmarks.spool [seconds]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.acceptance.process import free_port
from tests.acceptance.reading import metric
from tests.benchmarks.webhooks import Load, daemon, wrk


def _away() -> dict[str, str]:
    """One machine whose queue is a Service Bus that nobody answers for."""
    bus = (
        f"Endpoint=sb://localhost:{free_port()};SharedAccessKeyName=n;SharedAccessKey=aaaa;UseDevelopmentEmulator=true"
    )
    return {
        "SERVICE_BUS_CONNECTION_STRING": bus,
        "SYNCD_DAEMON__DATA_DIR_DURABLE": "true",
        "SYNCD_DAEMON__LAME_DUCK": "0s",
        "SYNCD_LIMITS__MAX_REPLICAS": "1",
        "SYNCD_WEBHOOKS__SPOOL_MAX_BYTES": "8GiB",
    }


async def _load(seconds: float, environment: dict[str, str]) -> tuple[Load, float, int]:
    """The load, how many events the spool then held, and the size of its file in bytes."""
    async with daemon(Path(__file__).parents[3], environment=environment) as running:
        # Those that find out that the broker is away wait for it; here it is known already.
        await asyncio.to_thread(wrk, running.port, 3.0, Path(tempfile.gettempdir()))
        load = await asyncio.to_thread(wrk, running.port, seconds, Path(tempfile.gettempdir()))
        path = running.data_dir / "spool.db"
        return load, await metric(running, "spool_messages"), path.stat().st_size if path.exists() else 0


async def measure(seconds: float = 6.0) -> dict[str, float]:
    embedded, _, _ = await _load(seconds, {})
    spool, messages, size = await _load(seconds, _away())
    return {
        "embedded/s": embedded.rate,
        "embedded p99 ms": embedded.p99,
        "spool/s": spool.rate,
        "spool p99 ms": spool.p99,
        "spool refused": float(spool.errors),
        "spool messages": messages,
        "spool bytes each": size / max(messages, 1.0),
    }


if __name__ == "__main__":
    for name, value in asyncio.run(measure(*[float(argument) for argument in sys.argv[1:2]])).items():
        print(f"{name:20} {value:12.1f}")
