"""The real daemon as a process of its own: started, spoken to over HTTP, signalled, killed, and never left behind.

async with Daemon(tmp_path / "data") as daemon:
    registration = await daemon.register_github()
    answer = await daemon.post_webhook(registration, b'{"zen": "..."}', event="ping")
    await daemon.kill9()
    await daemon.start()
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import hmac
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from syncd.domain.jsontypes import Json, JsonObject
from tests.acceptance.freeports import free_port
from tests.acceptance.services import services_of

TOKEN = "acceptance-token-3f9c1a7be2"
SECRET = "acceptance-webhook-secret"
#: Seconds. Generous, because the machine may be busy; a daemon that exits is noticed at once.
READY_WITHIN = 60.0
#: Between two looks at something that gives no signal.
LOOK = 0.02

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class DaemonDied(AssertionError):
    """The process ended before it was ready; the message holds its log."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> JsonObject:
        found = json.loads(self.body)
        assert isinstance(found, dict), found
        return found

    def ok(self) -> JsonObject:
        """The body of a 2xx; anything else fails the test with what was said."""
        assert 200 <= self.status < 300, f"{self.status}: {self.body.decode(errors='replace')}"
        return self.json() if self.body else {}


@dataclass(frozen=True, slots=True)
class Registration:
    id: str
    secret: str
    connection_id: str
    tenant_id: str


def github_headers(body: bytes, *, secret: str, event: str, delivery: str) -> dict[str, str]:
    """As GitHub signs and labels a delivery: https://docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers"""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/acceptance",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


async def eventually(check: Callable[[], Awaitable[object]], *, within: float = 60.0, what: str = "it") -> None:
    """Wait until `check` answers something true; fail when `within` seconds are over."""
    deadline = time.monotonic() + within
    began = time.monotonic()
    while not await check():
        now = time.monotonic()
        assert now < deadline, f"{what} did not come to pass within {within:g} s"
        # What another process does gives no signal here, and answering must not be most of what it does.
        await asyncio.sleep(min(max(LOOK, 2 * (now - began)), 1.0))
        began = time.monotonic()


class Daemon:
    """`syncd run` on a data directory, with a free port that it keeps over restarts."""

    def __init__(
        self,
        data_dir: Path,
        *,
        args: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "syncd", "run"),
        port: int | None = None,
        token: str = TOKEN,
        cwd: Path | None = None,
    ) -> None:
        """`args` follow the command; `environment` is added last (a shim's `environment` makes the daemon run under it)."""
        self.data_dir = data_dir
        self.port = port or free_port()
        self.token = token
        self.args = list(args)
        self.environment = {
            "SYNCD_DAEMON__DATA_DIR": str(data_dir),
            "SYNCD_HTTP__HOST": "127.0.0.1",
            "SYNCD_HTTP__PORT": str(self.port),
            "SYNCD_HTTP__ADMIN_TOKEN": token,
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
            **services_of(data_dir),
            **(environment or {}),
        }
        self.command = list(command)
        """What the next start runs."""
        self._cwd = cwd or data_dir.parent
        self._log = data_dir.with_name(f"{data_dir.name}.log")
        self._process: asyncio.subprocess.Process | None = None
        self._groups: list[int] = []
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def log(self) -> str:
        """What it has written so far, over all starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def start(self, *, ready: bool = True, within: float = READY_WITHIN) -> None:
        """Start it, and wait until `/readyz` answers 200. Raises DaemonDied with its log where it ends before."""
        await self.launch()
        if ready:
            await self.ready(within=within)

    async def launch(self) -> None:
        assert not self.running, "already running"
        self._cwd.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                *self.args,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=self._cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._groups.append(self._process.pid)

    async def ready(self, *, within: float = READY_WITHIN) -> None:
        deadline = time.monotonic() + within
        while True:
            if not self.running:
                raise DaemonDied(f"the daemon ended with {await self.wait()} before it was ready:\n{self._tail()}")
            with suppress(aiohttp.ClientError, OSError):
                if (await self.request("GET", "/readyz", timeout=5.0)).status == 200:
                    return
            if time.monotonic() > deadline:
                raise DaemonDied(f"the daemon was not ready within {within:g} s:\n{self._tail()}")
            await asyncio.sleep(LOOK)  # without a notify socket a start gives no signal

    async def wait(self, *, within: float = 60.0) -> int:
        """Its exit code, negative for a signal."""
        assert self._process is not None, "not started"
        try:
            async with asyncio.timeout(within):
                return await self._process.wait()
        except TimeoutError:
            raise AssertionError(f"the daemon did not end within {within:g} s:\n{self._tail()}") from None

    async def run_to_end(self, *, within: float = 60.0) -> int:
        """Start what is expected to end by itself; its exit code."""
        await self.launch()
        return await self.wait(within=within)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def hup(self) -> None:
        self.send(signal.SIGHUP)

    async def kill9(self) -> None:
        """As a power cut to the process; gone when it returns."""
        self.send(signal.SIGKILL)
        await self.wait()

    async def terminate(self, *, within: float = 60.0) -> int:
        """Ask it to drain and stop; its exit code."""
        self.send(signal.SIGTERM)
        return await self.wait(within=within)

    async def restart(self, *, within: float = READY_WITHIN) -> None:
        await self.terminate()
        await self.start(within=within)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if error is not None:
            error.add_note(f"the daemon's log ends:\n{self._tail()}")

    async def close(self) -> None:
        """End the process and all that it started, however it takes it. A daemon that is well is asked first, so that it writes
        its coverage."""
        if self._process is not None:
            if self.running:
                with suppress(ProcessLookupError):
                    self.send(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(15):
                        await self._process.wait()
            for group in self._groups:  # also what an earlier start left behind when it was killed
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            self._groups.clear()
            await self._process.wait()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _tail(self, most: int = 8000) -> str:
        return self.log[-most:] or "(it wrote nothing)"

    async def cli(self, *args: str, within: float = 60.0) -> tuple[int, str, str]:
        """`syncd <args>` with the daemon's environment: exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "syncd",
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment},
            cwd=self._cwd,
            preexec_fn=_die_with_parent,
        )
        try:
            async with asyncio.timeout(within):
                out, err = await process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """Exactly this request, without credentials; redirects are not followed."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        async with self._session.request(
            method,
            self.url + path,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
        ) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def api(
        self, method: str, path: str, json_body: Json = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """An administrator's request; `path` begins at `/api/v1`, or is given whole where it begins with `/api/`."""
        whole = path if path.startswith("/api/") else f"/api/v1{path}"
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if json_body is None:
            return await self.request(method, whole, headers=sent)
        sent.setdefault("Content-Type", "application/json")
        return await self.request(method, whole, body=json.dumps(json_body).encode(), headers=sent)

    async def register_github(
        self, identifier: str = "reg-github", *, connection: str = "conn-github", tenant: str = "tenant-1"
    ) -> Registration:
        """A GitHub connection that takes issues, and a webhook registration for it."""
        found = await self.api("GET", f"/connections/{connection}")
        if found.status == 404:
            made = await self.api(
                "POST",
                "/connections",
                {
                    "id": connection,
                    "tenantId": tenant,
                    "integrationId": "github",
                    "settings": {"baseUrl": "http://127.0.0.1:9", "owner": "o", "repo": "r"},
                    "credential": {"kind": "bearer", "token": "acceptance"},
                    "entities": {"issue": {"direction": "pull"}},
                },
            )
            made.ok()
        registered = await self.api(
            "POST",
            "/webhooks",
            {
                "id": identifier,
                "tenantId": tenant,
                "integrationId": "github",
                "connectionId": connection,
                "scheme": "github",
                "secret": SECRET,
            },
        )
        registered.ok()
        return Registration(identifier, SECRET, connection, tenant)

    async def post_webhook(
        self,
        registration: Registration,
        body: bytes | JsonObject,
        *,
        event: str = "issues",
        delivery: str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """A delivery signed as GitHub signs it; `headers` replace or, with None, remove what it would carry."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: dict[str, str | None] = {
            **github_headers(raw, secret=registration.secret, event=event, delivery=delivery or str(uuid.uuid4())),
            **(headers or {}),
        }
        return await self.request(
            "POST",
            f"/webhooks/{registration.id}/events",
            body=raw,
            headers={name: value for name, value in sent.items() if value is not None},
        )

    async def queue(self, name: str) -> JsonObject:
        """The figures of one queue, as `GET /api/v1/queues` shows them."""
        items = (await self.api("GET", "/queues")).ok()["items"]
        assert isinstance(items, list)
        found = [item for item in items if isinstance(item, dict) and item["name"] == name]
        assert found, f"no queue {name!r} among {items}"
        return found[0]

    async def drained(self, name: str, *, within: float = 60.0) -> None:
        """Wait until nothing of a queue is ready, leased or scheduled."""

        async def empty() -> bool:
            figures = await self.queue(name)
            return all(figures[state] == 0 for state in ("ready", "leased", "scheduled"))

        await eventually(empty, within=within, what=f"queue {name} empty")


def _die_with_parent() -> None:
    """A test run that is killed takes its daemons with it."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
