"""`syncd check`: every dependency and right, looked at once, with what mends it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time

from syncd.adapters.embedded.files import quick_check
from syncd.adapters.embedded.store import FILE_NAME
from syncd.bootstrap.spooling import check_spool
from syncd.domain.errors import SyncdError
from syncd.runtime.lock import DataDirectory, InUse
from syncd.settings import Loaded, Settings
from syncd.settings.partners import PORTS

Row = tuple[str, str, str, str]
"""Name, status (`ok`, `failed`, `note`), detail, fix."""

#: Free space below which the check warns. Bytes.
LITTLE_SPACE = 1024**3


async def check_all(loaded: Loaded, *, create: bool = False) -> list[Row]:
    """`create`: make what is missing of queues and containers."""
    settings = loaded.settings
    rows = await asyncio.to_thread(_here, settings)
    chosen = {getattr(settings.backend, port) for port in PORTS}
    if chosen != {"embedded"}:
        from syncd.bootstrap.servicechecks import check_services  # here: what it imports is not needed without services

        rows += await check_services(settings, create=create)
    return rows


def _here(settings: Settings) -> list[Row]:
    """What is on this machine."""
    rows = _directory(settings)
    if rows[0][1] == "failed":
        return rows
    backend = settings.backend
    if "embedded" in (backend.documents, backend.queue, backend.vault):
        rows.append(_store(settings))
    rows += [_space(settings), _address(settings, running=rows[0][1] == "note")]
    spool = check_spool(settings)
    return [*rows, spool] if spool is not None else rows


def _directory(settings: Settings) -> list[Row]:
    path = settings.daemon.data_dir
    try:
        with DataDirectory(path, boot="check", now=time.time, brief=True):
            return [("data directory", "ok", str(path), "")]
    except InUse as error:
        return [("data directory", "note", f"{path} is in use by {error.holder or 'another process'}", "")]
    except SyncdError as error:
        return [("data directory", "failed", str(error), "see the detail")]


def _store(settings: Settings) -> Row:
    path = settings.daemon.data_dir / FILE_NAME
    if not path.exists():
        return ("store", "ok", "made at the first start", "")
    try:
        verdict = quick_check(path)
    except SyncdError as error:
        return ("store", "failed", str(error), "put a backup in its place (syncd backup)")
    fix = "" if verdict == "ok" else "stop the daemon and put a backup in its place"
    return ("store", "ok" if verdict == "ok" else "failed", f"{path}: {verdict}", fix)


def _space(settings: Settings) -> Row:
    free = shutil.disk_usage(settings.daemon.data_dir).free
    enough = free >= LITTLE_SPACE
    return ("disk space", "ok" if enough else "failed", f"{free / 1024**3:.1f} GiB free", "" if enough else "free some")


def _address(settings: Settings, *, running: bool) -> Row:
    host, port = settings.http.host, settings.http.port
    if running or port == 0:
        return ("http address", "ok", f"{host}:{port}", "")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fix = "stop the other process or set http.port (SYNCD_HTTP__PORT)"
            return ("http address", "failed", f"{host}:{port}: {os.strerror(error.errno or 0)}", fix)
    return ("http address", "ok", f"{host}:{port} is free", "")
