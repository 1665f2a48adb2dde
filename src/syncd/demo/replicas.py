"""A daemon of the tour: one process at a time, with a port and a directory that it keeps over restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from syncd.demo.processes import Child
from syncd.demo.readback import LOOK, Api
from syncd.domain.errors import SyncdError

#: Seconds that one start may take; the machine may be busy.
START_WITHIN = 60.0

#: Every request is charged to these limits, which are above what the systems take; theirs are lower.
_CONFIGURATION = """\
[http]
host = "127.0.0.1"
port = {port}
outgoing_timeout = 3
admin_token = "file:{token}"

[daemon]
data_dir = "{data}"
replica = "{name}"
lame_duck = 0 # no load balancer has to notice a stop

[limits]
max_replicas = {replicas}
tenant = 60000
integrations = {{ rest = 30000 }}
operations = {{ create = 30000, update = 30000, delete = 30000, fetch = 30000 }}
"""


@dataclass(slots=True, kw_only=True)
class Replica:
    number: int
    of: int
    port: int
    directory: Path
    token_file: Path
    services: Mapping[str, str]
    """Variables that lead to what it shares with others; none: everything is in its own directory."""
    _child: Child | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return f"replica {self.number}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.directory / ("data" if self.of == 1 else f"data-{self.number}")

    @property
    def log(self) -> Path:
        return self.directory / ("daemon.log" if self.of == 1 else f"daemon-{self.number}.log")

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    @property
    def started(self) -> bool:
        return self._child is not None

    async def start(self, api: Api) -> float:
        """The seconds until it was ready. Raises SyncdError with the end of its log."""
        began = time.monotonic()
        configuration = self.directory / f"syncd-{self.number}.toml"
        configuration.write_text(
            _CONFIGURATION.format(
                port=self.port,
                token=self.token_file,
                data=self.data,
                name=self.name.replace(" ", "-"),
                replicas=self.of,
            ),
            encoding="utf-8",
        )
        self._child = await Child.start(
            ["-m", "syncd", "run", "--config", str(configuration)],
            cwd=self.directory,
            log=self.log,
            environment=self.services,
        )
        while not await api.ready(self.url):
            if not self._child.running:
                raise SyncdError(f"the daemon ended with {self._child.process.returncode}:\n{self.tail()}")
            if time.monotonic() - began > START_WITHIN:
                raise SyncdError(f"the daemon was not ready within {START_WITHIN:g} s:\n{self.tail()}")
            await asyncio.sleep(LOOK)  # without a notify socket a start gives no signal
        return time.monotonic() - began

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
