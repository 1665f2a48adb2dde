"""Ports for servers that tests start, and start again."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    """A loopback port that nobody listens on now.

    Not one of those that the system hands to outgoing connections: a daemon that is started again on its port would now and then
    find it taken by one of them.
    """
    while True:
        port = _DRAW.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _PORTS.remove(port)  # nobody in this run gets it again
            return port


def _ports() -> list[int]:
    """See ip_local_port_range in ip(7); everything below it is for those who ask for a port by its number."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = list(range(10_000, lowest)) if lowest > 12_000 else list(range(61_000, 65_000))
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # `gw1`; where several test at once, each has ports of its own
    return ports if worker is None else ports[int(worker[2:]) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]


_PORTS = _ports()
#: Not the module's own generator, which property tests seed: two runs at once would draw the same.
_DRAW = random.SystemRandom()
