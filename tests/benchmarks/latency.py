"""One record through an idle daemon: a webhook comes in, the change goes out to the second system. The real process, as
shipped but for the limits.

The clock runs from the moment before the delivery is sent to the moment at which the second system has the request: what it then
takes itself does not count.

    python -m tests.benchmarks.latency [samples]
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.acceptance.process import Daemon
from tests.benchmarks.pulls import UNLIMITED
from tests.benchmarks.systems import system

ISSUES = 20
#: Between two samples, so that the daemon has nothing else to do. Seconds.
_REST = 0.05


async def measure(samples: int = 300) -> tuple[float, float]:
    """Milliseconds: (median, p99)."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir=Path(__file__).parents[3]))
    try:
        async with (
            system("write", 0.0, "title") as (port, lines),
            Daemon(directory / "data", environment=UNLIMITED) as daemon,
        ):
            registration = await daemon.register_github()
            one = "/issues/{id}"
            issues = {"create": "/issues", "get": one, "update": one, "creates": "blind"}
            second = {
                "id": "second",
                "tenantId": registration.tenant_id,
                "integrationId": "rest",
                "settings": {"baseUrl": f"http://127.0.0.1:{port}", "types": {"issue": issues}},
                "entities": {"issue": {"direction": "push"}},
            }
            (await daemon.api("POST", "/connections", second)).ok()
            began = datetime.now(UTC) - timedelta(hours=1)
            delays = []
            for sample in range(-ISSUES, samples):  # the first of each issue creates it
                number = sample % ISSUES
                issue = {
                    "id": number,
                    "number": number,
                    "title": f"sample{sample}",
                    "updated_at": f"{began + timedelta(seconds=sample + ISSUES):%Y-%m-%dT%H:%M:%SZ}",
                }
                body = json.dumps({"action": "edited", "issue": issue, "repository": {"id": 5}}).encode()
                sent = time.monotonic()
                (await daemon.post_webhook(registration, body)).ok()
                async with asyncio.timeout(30):
                    title, at = (await lines.readline()).decode().split()
                if title != f"sample{sample}":
                    raise AssertionError(f"expected sample{sample} at the second system, and {title} came")
                if sample >= 0:
                    delays.append((float(at) - sent) * 1000)
                await asyncio.sleep(_REST)  # idle is measured idle
            delays.sort()
            return statistics.median(delays), delays[int(samples * 0.99)]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    median, p99 = asyncio.run(measure(*(int(argument) for argument in sys.argv[1:])))
    print(f"median {median:.1f} ms, p99 {p99:.1f} ms")
