"""The admin API over the store while no daemon runs, so that the command line has one way of doing things."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from syncd.bootstrap.process import build_daemon
from syncd.domain.ids import ulid
from syncd.domain.principal import Principal
from syncd.domain.secrets import Secret
from syncd.http.auth import Tokens
from syncd.http.server import Server
from syncd.runtime.lock import DataDirectory
from syncd.settings import Loaded
from syncd.telemetry.log import Logs


@asynccontextmanager
async def serve(loaded: Loaded) -> AsyncIterator[tuple[str, str]]:
    """(address, token). Takes the data directory's lock; no worker and no job runs. Raises InUse where a daemon has it."""
    boot = ulid(time.time())
    directory = DataDirectory(loaded.settings.daemon.data_dir, boot=boot, now=time.time, brief=True)
    await asyncio.to_thread(directory.acquire)
    logs = Logs()
    logs.configure(level="error")
    token = secrets.token_urlsafe(32)
    logs.known_secrets.add(token)
    try:
        async with build_daemon(loaded, logs=logs, boot=boot) as built:
            board = built.control.board
            board.phase = "running"
            services = replace(
                built.control.current.services,
                tokens=Tokens([(Principal(name="cli", role="operate"), Secret(token))]),
            )
            server = Server(current=lambda: services, clock=services.clock, host="127.0.0.1", port=0)
            await server.start()
            try:
                yield server.address, token
            finally:
                await server.stop()
    finally:
        await asyncio.to_thread(directory.release)
