"""Who plays in the tour: the daemon, two systems that it keeps in step, and a sender of webhooks. Each is a process of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from syncd.demo.connections import CRM, CRM_HOOK, GITHUB_HOOK, MAIL
from syncd.demo.processes import Child, free_ports
from syncd.demo.readback import LOOK, Api
from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject

#: Seconds that one start may take; the machine may be busy.
START_WITHIN = 60.0
#: Requests that the mail list takes, and in how many seconds: the low limit of the tour.
MAIL_QUOTA, MAIL_WINDOW = 140, 2
#: Seconds that a page of the CRM takes, and that a request to the mail list takes.
PAGE_TIME, CALL_TIME = 0.2, 0.1
#: Pages in which the CRM shows what it holds.
PAGES = 20
#: The CRM refuses one reading request in so many.
CRM_REFUSES = 9
#: Seconds in which GitHub's events happen.
SENDING_TIME = 6.0
_TOKEN_FILE = "admin-token"

#: The daemon's configuration. Every request is charged to these limits, which are above what the systems take; theirs are lower.
_CONFIGURATION = """\
[http]
host = "127.0.0.1"
port = {port}
outgoing_timeout = 3

[daemon]
data_dir = "{data}"

[limits]
tenant = 60000
integrations = {{ rest = 30000 }}
operations = {{ create = 30000, update = 30000, delete = 30000, fetch = 30000 }}
"""


class Cast:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.token_file = self.data / _TOKEN_FILE
        self.log = directory / "daemon.log"
        self._sender_log, self._hook_log = directory / "sender.jsonl", directory / "crm-webhooks.jsonl"
        self._port, self._crm_port, self._mail_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self._port}"
        self.crm_url, self.mail_url = f"http://127.0.0.1:{self._crm_port}", f"http://127.0.0.1:{self._mail_port}"
        self.crm_key, self.mail_key, self.desk_token = (secrets.token_urlsafe(24) for _ in range(3))
        self.github_secret, self.crm_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._daemon: Child | None = None
        self._sender: Child | None = None
        self._systems: list[Child] = []

    @property
    def daemon(self) -> Child:
        assert self._daemon is not None
        return self._daemon

    @property
    def sender(self) -> Child:
        assert self._sender is not None
        return self._sender

    # -- entrances --

    async def start_daemon(self, api: Api) -> float:
        """The seconds until it was ready. Raises SyncdError with the end of its log."""
        began = time.monotonic()
        configuration = self.directory / "syncd.toml"
        configuration.write_text(_CONFIGURATION.format(port=self._port, data=self.data), encoding="utf-8")
        self._daemon = await Child.start(
            ["-m", "syncd", "run", "--config", str(configuration)], cwd=self.directory, log=self.log
        )
        while not await api.ready():
            if not self._daemon.running:
                raise SyncdError(f"the daemon ended with {self._daemon.process.returncode}:\n{self.tail()}")
            if time.monotonic() - began > START_WITHIN:
                raise SyncdError(f"the daemon was not ready within {START_WITHIN:g} s:\n{self.tail()}")
            await asyncio.sleep(LOOK)  # without a notify socket a start gives no signal
        return time.monotonic() - began

    async def start_systems(self, contacts: int) -> None:
        """Both listen when it returns."""
        crm: JsonObject = {
            "port": self._crm_port,
            "key": self.crm_key,
            "contacts": contacts,
            "seed": secrets.randbits(32),
            "pageTime": PAGE_TIME,
            "pageSize": max(1, contacts // PAGES),
            "quota": 1000,
            "quotaSeconds": 10,
            "refuses": CRM_REFUSES,
            "hooks": {
                "url": f"{self.url}/webhooks/{CRM_HOOK}/events",
                "secret": self.crm_secret,
                "log": str(self._hook_log),
            },
        }
        mail: JsonObject = {
            "port": self._mail_port,
            "key": self.mail_key,
            "callTime": CALL_TIME,
            "quota": MAIL_QUOTA,
            "quotaSeconds": MAIL_WINDOW,
        }
        await asyncio.gather(self._start_system("crm", CRM, crm), self._start_system("maillist", MAIL, mail))

    async def start_sender(self, events: int) -> Child:
        order: JsonObject = {
            "url": f"{self.url}/webhooks/{GITHUB_HOOK}/events",
            "secret": self.github_secret,
            "log": str(self._sender_log),
            "count": events,
            "seconds": SENDING_TIME,
            "seed": secrets.randbits(32),
            "since": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        }
        self._sender = await self._ordered("sender", order)
        return self._sender

    async def _start_system(self, module: str, name: str, order: JsonObject) -> None:
        system = await self._ordered(module, {**order, "desk": self.desk_token, "log": str(self._requests(name))})
        self._systems.append(system)
        assert system.process.stdout is not None
        try:
            async with asyncio.timeout(START_WITHIN):
                said = await system.process.stdout.readline()
        except TimeoutError:
            said = b""
        if not said:
            raise SyncdError(f"the {name} did not start:\n{self.tail()}")

    async def _ordered(self, module: str, order: JsonObject) -> Child:
        child = await Child.start(["-m", f"syncd.demo.{module}"], cwd=self.directory, log=self.log, pipes=True)
        assert child.process.stdin is not None
        child.process.stdin.write(json.dumps(order).encode() + b"\n")
        child.process.stdin.close()
        return child

    # -- what they wrote --

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def sent(self) -> list[JsonObject]:
        """The sender's log."""
        return _lines(self._sender_log)

    def hooks(self) -> list[JsonObject]:
        """The log of the CRM's webhooks."""
        return _lines(self._hook_log)

    def requests(self, name: str) -> list[JsonObject]:
        """What a system was asked."""
        return _lines(self._requests(name))

    def _requests(self, name: str) -> Path:
        return self.directory / f"{name}-requests.jsonl"

    # -- exits --

    def kill_now(self) -> None:
        for child in (self._sender, self._daemon, *self._systems):
            if child is not None:
                child.kill_now()

    async def leave(self) -> None:
        """The daemon in order, so that nothing it says to the systems meets a closed door."""
        if self._sender is not None:
            await self._sender.kill9()
        if self._daemon is not None:
            await self._daemon.stop()
        await asyncio.gather(*(system.stop() for system in self._systems))


def _lines(path: Path) -> list[JsonObject]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as log:
        return [json.loads(line) for line in log]
