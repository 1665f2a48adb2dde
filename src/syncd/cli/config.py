"""`syncd check`, `syncd config show`, `syncd config env`, `syncd config file`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import click

from syncd.cli.options import configuration_options, load_configuration, output_option
from syncd.cli.output import print_json, print_rows
from syncd.domain.jsontypes import Json
from syncd.settings import ConfigurationError, Loaded, Problem, Settings, catalogue, names
from syncd.settings.effective import effective
from syncd.settings.partners import PORTS
from syncd.settings.sections.http import is_loopback
from syncd.settings.sections.jobs import AVAILABLE
from syncd.settings.tomltext import annotated

Finding = dict[str, Json]
"""name, status (ok | note | failed), detail, fix."""
_COLUMNS = {"name": "what", "status": "status", "detail": "detail", "fix": "what to do"}


@click.group()
def command() -> None:
    """Show effective settings and every environment name."""


@command.command()
@configuration_options
@output_option
@click.option("--sources", is_flag=True, help="Say where each value came from.")
@click.option("--changed", is_flag=True, help="Only what is not the default.")
@click.argument("prefix", required=False, default="")
def show(
    config: Path | None, env_files: tuple[Path, ...], output: str, sources: bool, changed: bool, prefix: str
) -> None:
    """Effective settings, secrets redacted; PREFIX narrows them, for example `http` or `queues.sync-inbound`."""
    loaded = load_configuration(config, env_files)
    rows = [row for row in effective(loaded) if row.key == prefix or row.key.startswith(f"{prefix}.") or not prefix]
    if not rows:
        close = catalogue.nearest(tuple(prefix.split(".")))
        raise click.UsageError(f"There is no setting {prefix!r}." + (f" Did you mean {close!r}?" if close else ""))
    if changed:
        rows = [row for row in rows if row.source != "default" and not row.source.startswith("preset")]
    if output == "json":
        print_json({row.key: {"value": row.value, "source": row.source} if sources else row.value for row in rows})
        return
    columns = {"key": "key", "value": "value", "unit": "unit"} | ({"source": "from"} if sources else {})
    print_rows(
        [{"key": row.key, "value": row.value, "unit": row.unit, "source": row.source} for row in rows], columns, output
    )


@command.command()
@output_option
def env(output: str) -> None:
    """Every environment name that is understood, and the key that it sets."""
    columns = {"name": "name", "key": "key", "default": "default", "allowed": "allowed", "meaning": "meaning"}
    print_rows(list(environment_rows()), columns, output)


@command.command()
def file() -> None:
    """Print the annotated configuration file: every key, its meaning and default."""
    click.echo(annotated(), nl=False)


def environment_rows() -> Iterator[Finding]:
    for honoured in names.HONOURED:
        key = catalogue.find(honoured.path)
        assert isinstance(key, catalogue.Key)
        meaning = f"{'Also accepted. ' if honoured.alias else ''}{key.meaning}"
        allowed = honoured.allowed or key.allowed
        yield _name_row(honoured.name, ".".join(honoured.path), key.default, allowed, meaning)
    yield _name_row("INSTANCE_*", "aci.environment.*", None, "text", "Handed to each container, without the prefix.")
    for name, meaning in names.OWN_NAMES.items():
        yield _name_row(name, "", None, "text", meaning)
    yield _name_row("OTEL_*", "", None, "", "Read by OpenTelemetry itself.")
    yield _name_row("AZURE_CLIENT_ID, AZURE_TENANT_ID, ...", "", None, "", "Read by azure-identity itself.")
    for key in catalogue.keys().values():
        yield _name_row(key.environment_name, key.dotted, key.default, key.allowed, key.meaning)
    for name, why in names.IGNORED.items():
        yield _name_row(name, "", None, "", f"Ignored: {why}.")


def _name_row(name: str, key: str, default: Json, allowed: str, meaning: str) -> Finding:
    written = catalogue.written(default)
    return {"name": name, "key": key, "default": written, "allowed": allowed, "meaning": meaning}


@click.command()
@configuration_options
@output_option
@click.option("--offline", is_flag=True, help="Only validate: connect to nothing.")
@click.option("--create", is_flag=True, help="Make queues and containers that are missing.")
def check(config: Path | None, env_files: tuple[Path, ...], output: str, offline: bool, create: bool) -> int:
    """Validate the configuration, then try every dependency and every right it needs."""
    if offline and create:
        raise click.UsageError("--offline connects to nothing, so that it can make nothing: leave one of the two out")
    try:
        loaded = load_configuration(config, env_files)
    except ConfigurationError as error:
        print_rows(
            [_finding_of(problem) for problem in error.problems], _COLUMNS, output, title="Configuration: refused"
        )
        return error.EXIT_CODE
    findings = list(offline_findings(loaded))
    if not offline:
        live: Callable[..., Coroutine[None, None, list[tuple[str, str, str, str]]]]
        live = import_module("syncd.bootstrap").check
        findings += [dict(zip(_COLUMNS, row, strict=True)) for row in asyncio.run(live(loaded, create=create))]
    print_rows(findings, _COLUMNS, output, title="Configuration: valid")
    return 1 if any(finding["status"] == "failed" for finding in findings) else 0


def _finding_of(problem: Problem) -> Finding:
    place = f"{problem.source}: " if problem.source else ""
    return {
        "name": problem.key or "configuration",
        "status": "failed",
        "detail": place + problem.text,
        "fix": problem.fix,
    }


def _row(name: str, status: str, detail: str, fix: str = "") -> Finding:
    return {"name": name, "status": status, "detail": detail, "fix": fix}


def offline_findings(loaded: Loaded) -> Iterator[Finding]:
    """What can be said without connecting to anything."""
    settings = loaded.settings
    files = [str(path) for path in (loaded.config, *loaded.inputs.env_files) if path is not None]
    yield _row("files", "ok", ", ".join(files) or "none: built-in defaults and the environment")
    yield _row("roles", "ok", ", ".join(settings.daemon.roles))
    backend = settings.backend
    chosen = {port: getattr(backend, port) for port in PORTS}
    same = len(set(chosen.values())) == 1
    where = f"{', '.join(chosen)}: {backend.documents}" if same else ", ".join(f"{k}: {v}" for k, v in chosen.items())
    yield _row("backend", "ok", where)
    yield _data_directory(settings.daemon.data_dir)
    yield from _listener(loaded)
    yield _trigger(loaded)
    yield from _jobs(settings)
    yield from _remarks(loaded)


def _jobs(settings: Settings) -> Iterator[Finding]:
    here = {name: job for name, job in settings.jobs.items() if name in AVAILABLE}
    running = [f"{name} ({job.schedule} {job.timezone})" for name, job in here.items() if job.enabled]
    yield _row("jobs", "ok", ", ".join(running) or "all switched off")
    later = sorted(settings.jobs.keys() - here.keys())
    if later:
        yield _row("jobs", "note", f"not in this release yet, and not run: {', '.join(later)}")


def _data_directory(path: Path) -> Finding:
    if path.is_dir():
        if os.access(path, os.W_OK | os.X_OK):
            return _row("data directory", "ok", str(path))
        return _row(
            "data directory",
            "failed",
            f"{path} is not writable",
            f"chown it to the user of the daemon (uid {os.getuid()})",
        )
    if path.exists():
        return _row("data directory", "failed", f"{path} is not a directory", "set daemon.data_dir to a directory")
    parent = next(folder for folder in path.parents if folder.exists())
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return _row("data directory", "ok", f"{path} will be made at the first start")
    fix = f"make {path} and give it to the user of the daemon, or set daemon.data_dir"
    return _row("data directory", "failed", f"{path} does not exist, and {parent} is not writable", fix)


def _listener(loaded: Loaded) -> Iterator[Finding]:
    http = loaded.settings.http
    reach = "this machine only" if is_loopback(http.host) else "other machines can reach it"
    yield _row("http", "ok", f"{http.host} port {http.port} ({reach})")
    if http.admin_token is None and "http.admin_token" not in loaded.pending and not http.tokens:
        detail = f"none configured: one is made at first start and kept in {loaded.settings.daemon.data_dir}"
        yield _row("admin token", "ok", detail)
    elif http.admin_token is not None and len(http.admin_token.reveal()) < 16:
        yield _row("admin token", "note", "shorter than 16 characters: it can be guessed", "openssl rand -hex 32")


def _trigger(loaded: Loaded) -> Finding:
    finops = loaded.settings.finops
    if "finops" not in loaded.settings.daemon.roles:
        return _row("cost trigger", "ok", "off: this process has no role finops")
    if finops.enabled:
        return _row("cost trigger", "ok", f"on: POST {finops.webhook_url}")
    if finops.webhook_url is None and finops.sync_token is None:
        return _row("cost trigger", "ok", "off")
    fix = "FINOPS_SYNC_ENABLED=true switches it on"
    return _row("cost trigger", "note", "off, although finops.webhook_url or finops.sync_token is set", fix)


def _remarks(loaded: Loaded) -> Iterator[Finding]:
    for key, name in loaded.pending.items():
        yield _row(key, "ok", f"vault:{name} is read when the daemon starts")
    for shadow in loaded.shadowed:
        yield _row(shadow.key, "note", f"{shadow.hidden} does not count: {shadow.by} wins", "remove one of the two")
    for note in loaded.notes:
        yield _row("note", "note", note)
    if loaded.seen_not_needed:
        yield _row("seen, not needed", "ok", _grouped(loaded.seen_not_needed))


def _grouped(seen: Mapping[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for name, why in seen.items():
        reasons.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(sorted(found))} ({why})" for why, found in reasons.items())
