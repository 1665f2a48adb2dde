"""GitHub as @octokit/fixtures recorded it (scenario `paginate-issues`), served as the API: real answers of api.github.com, on this machine.

The recording holds pages of three, whatever is asked for, so unknown query keys are ignored; `since` is honoured; links are those that
were recorded, with this server's address in place of GitHub's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

PACKAGE = "@octokit/fixtures@23.1.2"
OWNER, REPO, ISSUES = "octokit-fixture-org", "paginate-issues", 13
_SCENARIO = "package/scenarios/api.github.com/paginate-issues/normalized-fixture.json"
_GITHUB = "https://api.github.com"
#: Headers of the recording that belong to its connection or its body, and not to this one's.
_NOT_OURS = {"connection", "content-length", "content-encoding", "transfer-encoding", "content-type", "link"}


class Unavailable(Exception):
    """The package could not be had; the text says why."""


def recording(directory: Path) -> list[dict[str, Any]]:
    """The scenario's exchanges, fetched with npm once and kept in `directory`. Raises Unavailable."""
    kept = directory / "paginate-issues-23.1.2.json"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise Unavailable("npm is not installed")
        asked = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(directory)]
        try:
            answered = subprocess.run(asked, cwd=directory, capture_output=True, text=True, timeout=60, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            raise Unavailable(f"npm could not fetch {PACKAGE}: {error}") from error
        archive = directory / answered.stdout.split()[-1]
        with tarfile.open(archive) as package:
            member = package.extractfile(_SCENARIO)
            assert member is not None
            kept.write_bytes(member.read())
        archive.unlink()
    found: list[dict[str, Any]] = json.loads(kept.read_bytes())
    return found


class Replay:
    """`log`: path and query of each request."""

    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self._exchanges = exchanges
        self.log: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            host, bound = runner.addresses[0][:2]
            self.url = f"http://{host}:{bound}"
            yield self.url
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.log.append(request.path_qs)
        page = int(request.query.get("page", "1"))
        home = request.path.removesuffix("/issues")
        if not request.path.endswith("/issues") or home not in (f"/repos/{OWNER}/{REPO}", "/repositories/1000"):
            return web.json_response({"message": "Not Found"}, status=404)
        if not 1 <= page <= len(self._exchanges):
            return web.json_response([])
        recorded = self._exchanges[page - 1]
        since = request.query.get("since", "")
        issues = [issue for issue in recorded["response"] if issue["updated_at"] >= since]
        headers = {name: str(value) for name, value in recorded["headers"].items() if name not in _NOT_OURS}
        if "link" in recorded["headers"]:
            headers["link"] = recorded["headers"]["link"].replace(_GITHUB, self.url)
        return web.json_response(issues, headers=headers)
