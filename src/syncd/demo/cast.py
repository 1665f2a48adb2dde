"""Who plays in the tour: one daemon or several, two systems to keep in step, and a sender of webhooks. Each is a process of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from syncd.demo.connections import CRM, CRM_HOOK, GITHUB_HOOK, MAIL
from syncd.demo.processes import Child, free_ports
from syncd.demo.readback import Api
from syncd.demo.replicas import START_WITHIN, Replica
from syncd.domain.errors import SyncdError
from syncd.domain.jsontypes import JsonObject

#: Requests that the mail list takes, and in how many seconds: the low limit of the tour.
MAIL_QUOTA, MAIL_WINDOW = 140, 2
#: Seconds that a page of the CRM takes, and that a request to the mail list takes.
PAGE_TIME, CALL_TIME = 0.2, 0.1
#: Pages in which the CRM shows what it holds.
PAGES = 20
#: The CRM refuses one reading request in so many.
CRM_REFUSES = 9
#: Seconds in which GitHub's events happen, for a daemon on its own disk and for daemons on services.
SENDING_TIME, SENDING_TIME_SHARED = 6.0, 20.0


class Cast:
    def __init__(self, directory: Path, *, replicas: int, services: Mapping[str, str]) -> None:
        self.directory = directory
        self.token_file = directory / "admin-token"
        self.token_file.touch(0o600)
        self.token_file.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        self.shared = bool(services)
        """Daemons keep everything in services, and nothing in their directories."""
        self._log = directory / "systems.log"
        self._sender_log, self._hook_log = directory / "sender.jsonl", directory / "crm-webhooks.jsonl"
        self._crm_port, self._mail_port, *ports = free_ports(2 + replicas)
        self.replicas = [
            Replica(
                number=number,
                of=replicas,
                port=port,
                directory=directory,
                token_file=self.token_file,
                services=services,
            )
            for number, port in enumerate(ports, 1)
        ]
        self.urls = [replica.url for replica in self.replicas]
        self.crm_url, self.mail_url = f"http://127.0.0.1:{self._crm_port}", f"http://127.0.0.1:{self._mail_port}"
        self.crm_key, self.mail_key, self.desk_token = (secrets.token_urlsafe(24) for _ in range(3))
        self.github_secret, self.crm_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._sender: Child | None = None
        self._systems: list[Child] = []

    @property
    def doomed(self) -> Replica:
        """The daemon that is killed."""
        return self.replicas[0]

    @property
    def sender(self) -> Child:
        assert self._sender is not None
        return self._sender

    # -- entrances --

    async def start_daemons(self, api: Api) -> float:
        """The seconds until all were ready. Raises SyncdError with the end of a log."""
        return max(await asyncio.gather(*(replica.start(api) for replica in self.replicas)))

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
                "urls": [f"{url}/webhooks/{CRM_HOOK}/events" for url in self.urls],
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
            "urls": [f"{url}/webhooks/{GITHUB_HOOK}/events" for url in self.urls],
            "secret": self.github_secret,
            "log": str(self._sender_log),
            "count": events,
            "seconds": SENDING_TIME_SHARED if self.shared else SENDING_TIME,
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
        child = await Child.start(["-m", f"syncd.demo.{module}"], cwd=self.directory, log=self._log, pipes=True)
        assert child.process.stdin is not None
        child.process.stdin.write(json.dumps(order).encode() + b"\n")
        child.process.stdin.close()
        return child

    # -- what they wrote --

    def tail(self) -> str:
        """The end of every log."""
        systems = self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""
        return "\n".join(text for text in (*(replica.tail() for replica in self.replicas), systems) if text)

    def alive(self) -> None:
        """Raises SyncdError where a daemon is not."""
        for replica in self.replicas:
            if not replica.child.running:
                code = replica.child.process.returncode
                raise SyncdError(f"the daemon ended by itself with {code}:\n{replica.tail()}")

    async def ended(self) -> None:
        """Wait until a daemon ends by itself, which is an error. Raises SyncdError."""
        waiting = [asyncio.create_task(replica.child.process.wait()) for replica in self.replicas]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        self.alive()

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
        for child in (self._sender, *self._daemons(), *self._systems):
            if child is not None:
                child.kill_now()

    async def leave(self) -> None:
        """The daemons in order, so that nothing they say to the systems meets a closed door."""
        if self._sender is not None:
            await self._sender.kill9()
        await asyncio.gather(*(daemon.stop() for daemon in self._daemons()))
        await asyncio.gather(*(system.stop() for system in self._systems))

    def _daemons(self) -> list[Child]:
        return [replica.child for replica in self.replicas if replica.started]


def _lines(path: Path) -> list[JsonObject]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as log:
        return [json.loads(line) for line in log]
