"""A program that embeds the daemon with a job that tells the log, in every way there is, what stands in a file.

    python -m tests.integration.talkative FILE

It stands for code with a fault: an exception that quotes a header, a library that logs what it sends.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

from syncd.bootstrap.process import run_daemon
from syncd.domain.schedules import parse_schedule
from syncd.flows.jobs import Job, Tick, TickResult
from syncd.settings import find_config, load

JOB = "talkative"


def main() -> int:
    file = Path(sys.argv[1])

    async def talk(_tick: Tick) -> TickResult:
        for line in file.read_text().splitlines():
            logging.getLogger("a.library").debug("sending %s", {"header": line}, extra={"url": f"https://h/?q={line}"})
            warnings.warn(f"deprecated: {line}", stacklevel=1)
        raise RuntimeError(f"refused: {file.read_text()}")

    job = Job(name=JOB, schedule=parse_schedule("0 0 0 1 1 *"), run=talk)
    return run_daemon(load(find_config(None, os.environ), (), os.environ), extra_jobs=[job])


if __name__ == "__main__":
    sys.exit(main())
