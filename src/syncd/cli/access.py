"""Whom a command speaks to: the daemon that holds the data directory, or, where none does, the store opened by this process.

The lock decides, not the text in the lock file: the store is opened first, and only the refusal names the daemon. So a token is
never sent to whatever took over the port of a daemon that was killed.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click

from syncd.cli.client import Api
from syncd.cli.options import configuration_options, load_configuration
from syncd.domain.errors import SyncdError

if TYPE_CHECKING:
    from syncd.runtime.lock import Holder
    from syncd.settings import Loaded

P = ParamSpec("P")
R = TypeVar("R")
#: The admin token that a daemon without a configured one made for itself, in its data directory.
TOKEN_FILE = "admin-token"  # noqa: S105 (the name of the file)
#: How long a daemon may take from its lock to its address, and another command to give the store back. Seconds.
PATIENCE = 30.0
_LOOK = 0.1


def with_api(command: Callable[Concatenate[Api, P], R]) -> Callable[..., R]:
    """Hand `command` an Api as its first argument, and give it `--config`, `--env-file` and `--url`."""
    return _with(command, daemon_only=False)


def with_daemon(command: Callable[Concatenate[Api, P], R]) -> Callable[..., R]:
    """As `with_api`, for what only a running daemon can answer; without one the command fails."""
    return _with(command, daemon_only=True)


def _with(command: Callable[Concatenate[Api, P], R], *, daemon_only: bool) -> Callable[..., R]:
    @configuration_options
    @click.option(
        "--url",
        envvar="SYNCD_URL",
        callback=_checked_url,
        metavar="URL",
        help="Speak to the daemon there (also SYNCD_URL; its token in SYNCD_TOKEN) instead of the one of this configuration.",
    )
    @functools.wraps(command)
    def reaching(
        *args: object, config: Path | None, env_files: tuple[Path, ...], url: str | None, **given: object
    ) -> R:
        with reach(config, env_files, url, daemon_only=daemon_only) as api:
            return command(api, *args, **given)  # type: ignore[arg-type] # click passes what the options declare

    return reaching


@contextmanager
def reach(
    config: Path | None, env_files: Sequence[Path], url: str | None, *, daemon_only: bool = False
) -> Iterator[Api]:
    """Says on stderr, in one line, whom it found. Raises SyncdError where neither is possible."""
    with asyncio.Runner() as runner:
        if url:
            token, token_from = _token_for(url, config, env_files)
            click.echo(f"speaking to the daemon at {url}", err=True)
            with Api(runner, url=url, token=token, token_from=token_from, daemon=True) as api:
                yield api
            return
        loaded = load_configuration(config, env_files)
        directory = loaded.settings.daemon.data_dir
        if not directory.is_dir():
            raise SyncdError(
                f"there is no data directory {directory}: start the daemon once, or name the right one with --config or"
                " SYNCD_DAEMON__DATA_DIR"
            )
        own = _OwnServer(runner)
        holder = _open_or_holder(runner, own, loaded, daemon_only=daemon_only)
        if holder is None:
            click.echo(f"no daemon runs: opened {directory} myself", err=True)
            try:
                who = "this process"
                with Api(runner, url=own.url, token=own.token, token_from=who, daemon=False) as api:
                    yield api
            finally:
                own.close()
            return
        token, token_from = _token(loaded)
        base = _address(holder.address or "")
        click.echo(f"speaking to the daemon at {base} (process {holder.pid})", err=True)
        with Api(runner, url=base, token=token, token_from=token_from, daemon=True) as api:
            yield api


class _OwnServer:
    """The admin API over the store, in this process, while no daemon runs. Entered and left in one task, as task groups want."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.url = self.token = ""
        self._runner = runner
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self, serving: AbstractAsyncContextManager[tuple[str, str]]) -> None:
        """Raises what entering `serving` raises."""

        async def serve(opened: asyncio.Future[tuple[str, str]]) -> None:
            try:
                async with serving as found:
                    opened.set_result(found)
                    await self._leave.wait()
            except BaseException as error:  # handed to whoever waits for the opening, whatever it is
                if opened.done():
                    raise
                opened.set_exception(error)

        async def start() -> tuple[str, str]:
            opened: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(serve(opened))
            return await opened

        self.url, self.token = self._runner.run(start())

    def close(self) -> None:
        async def stop(task: asyncio.Task[None]) -> None:
            self._leave.set()
            await task

        if self._task is not None:
            self._runner.run(stop(self._task))


def _open_or_holder(runner: asyncio.Runner, own: _OwnServer, loaded: Loaded, *, daemon_only: bool) -> Holder | None:
    """None: `own` is open. Otherwise who has the store, once that one says where it answers."""
    from syncd.runtime.lock import DataDirectory, InUse

    directory = loaded.settings.daemon.data_dir
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with DataDirectory(directory, boot="command", now=time.time, brief=True):
                pass  # beside a running daemon the composition root, which is most of a start, is never imported
            if daemon_only:
                raise SyncdError(f"no daemon runs on {directory}")
            serve: Callable[[Loaded], AbstractAsyncContextManager[tuple[str, str]]]
            serve = import_module("syncd.bootstrap").serve_for_cli
            own.open(serve(loaded))
        except InUse as error:
            if error.holder is not None and error.holder.address:
                return error.holder
            if time.monotonic() >= deadline:
                who = str(error.holder or "a process that does not say its name")
                raise SyncdError(
                    f"{directory} is in use by {who}; its HTTP interface is not up. Try again, or look into its log"
                ) from None
            # A lock file gives no signal: that process is just starting, or just ending.
            runner.run(asyncio.sleep(_LOOK))
        else:
            return None


def _checked_url(ctx: click.Context, option: click.Parameter, given: str | None) -> str | None:
    from syncd.settings.sections.http import http_url
    from syncd.settings.values import NotAllowed

    try:
        return http_url(_address(given)) if given else None
    except NotAllowed as error:
        raise click.BadParameter(f"{given!r}: {error}", ctx, option) from None


def _address(given: str) -> str:
    """With a scheme, and of this machine where the daemon listens on every address."""
    url = given if "://" in given else f"http://{given}"
    for anywhere, here in (("//0.0.0.0", "//127.0.0.1"), ("//[::]", "//[::1]")):
        url = url.replace(anywhere, here, 1)
    return url.rstrip("/")


def _is_here(url: str) -> bool:
    from syncd.settings.sections.http import is_loopback

    return is_loopback(urlsplit(url).hostname or "")


def _token_for(url: str, config: Path | None, env_files: Sequence[Path]) -> tuple[str, str]:
    """For a daemon that was named by its address. The token file of this machine is for this machine only."""
    if os.environ.get("SYNCD_TOKEN"):
        return os.environ["SYNCD_TOKEN"], "SYNCD_TOKEN"
    return _token(load_configuration(config, env_files), file=_is_here(url))


def _token(loaded: Loaded, *, file: bool = True) -> tuple[str, str]:
    """A token with the role operate, and where it came from. Raises SyncdError."""
    if os.environ.get("SYNCD_TOKEN"):
        return os.environ["SYNCD_TOKEN"], "SYNCD_TOKEN"
    http = loaded.settings.http
    if http.admin_token is not None:
        return http.admin_token.reveal(), f"http.admin_token ({loaded.sources['http.admin_token']})"
    for token in http.tokens:
        if token.role == "operate" and not token.tenants:
            return token.value.reveal(), f"http.tokens {token.name!r}"
    place = loaded.settings.daemon.data_dir / TOKEN_FILE
    if file:
        try:
            return place.read_text().strip(), str(place)
        except PermissionError:
            raise SyncdError(
                f"{place} may only be read by the user of the daemon: run this as that user, or set SYNCD_TOKEN"
            ) from None
        except FileNotFoundError:
            pass
    where = f", and there is no {place}" if file else ""
    raise SyncdError(f"no token is known: set SYNCD_TOKEN or http.admin_token{where}")
