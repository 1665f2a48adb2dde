"""`syncd queues`: what waits, and what is parked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.inputs import (
    edited,
    file_option,
    pairs_option,
    partition_part,
    pretty,
    read_bytes,
    read_json,
    sure,
    where_option,
    yes_option,
)
from syncd.cli.listing import print_list
from syncd.cli.options import limit_option, output_option
from syncd.cli.output import print_document, print_json
from syncd.cli.replaying import replay_by_filter, replay_by_id
from syncd.domain.errors import NotUnderstood
from syncd.domain.jsonbody import parse

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

#: Characters of a body or reason in a table; JSON and `show` have all of it.
_SHORT = 80


@click.group()
def command() -> None:
    """Look into queues and send to them; show, replay, edit and drop parked messages."""


def _short(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 1]}…"


def _counted(queue: JsonObject) -> JsonObject:
    """With a plus where there may be more."""
    bounds = ("ready", "scheduled") if queue.get("atLeast") else ()
    return {**queue, **{name: f"{queue[name]}+" for name in bounds if queue[name] is not None}}


def _row(message: JsonObject) -> JsonObject:
    return {**message, "body": _short(message.get("body")), "reason": _short(message.get("reason"))}


@command.command("list")
@with_api
@output_option
def list_all(api: Api, output: str) -> None:
    """All queues with what is ready, leased, scheduled and parked."""
    columns = {
        "name": "queue",
        "ready": "ready",
        "leased": "leased",
        "scheduled": "scheduled",
        "dead": "parked",
        "oldestAgeSeconds": "oldest (s)",
    }
    print_list(api, path("queues"), columns, output, paged=False, row=_counted)


@command.command()
@with_api
@output_option
@limit_option
@click.argument("queue")
def peek(api: Api, output: str, limit: int | None, queue: str) -> None:
    """What waits, oldest first, without touching it."""
    columns = {
        "position": "position",
        "state": "state",
        "kind": "kind",
        "lane": "lane",
        "group": "group",
        "attempt": "attempt",
        "dueAt": "due",
        "body": "body",
    }
    print_list(api, path("queues", queue, "peek"), columns, output, limit=limit, row=_row)


@command.command()
@with_api
@output_option
@pairs_option(
    "--property", "properties", "A property that its producer would set, as correlationId=...; may be repeated."
)
@click.argument("queue")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True, allow_dash=True))
def send(api: Api, output: str, properties: JsonObject, queue: str, file: Path) -> None:
    """Send a message as another system would: a SyncTaskMessage, a WebhookEvent or an OutboundChange.

    FILE holds its body, JSON encoded once or twice, and is sent as it is; - for standard input.
    """
    try:
        body = read_bytes(file).decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file}: it is not text") from None
    print_document(api.post(path("queues", queue, "send"), {"body": body, "properties": properties}), output)


@command.command()
@with_api
@output_option
@limit_option
@where_option
@click.argument("queue")
def parked(api: Api, output: str, limit: int | None, where: dict[str, str], queue: str) -> None:
    """Parked messages, oldest first."""
    columns = {
        "id": "id",
        "parkedAt": "parked",
        "bin": "bin",
        "reason": "reason",
        "kind": "kind",
        "tenantId": "tenant",
        "connectionId": "connection",
    }
    print_list(api, path("queues", queue, "parked"), columns, output, query={**where}, limit=limit, row=_row)


@command.command()
@with_api
@output_option
@click.argument("identifier", metavar="ID")
def show(api: Api, output: str, identifier: str) -> None:
    """A parked message with its body, and the bodies that it had before it was edited."""
    print_document(api.get(_path(identifier)), output)


@command.command()
@with_api
@output_option
@where_option
@click.option("--all", "everything", is_flag=True, help="Everything that is parked now.")
@click.option(
    "--rate", type=click.FloatRange(0, 10_000, min_open=True), default=50, show_default=True, help="A second."
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.argument("queue")
@click.argument("identifiers", metavar="[ID]...", nargs=-1)
def replay(
    api: Api,
    output: str,
    where: dict[str, str],
    everything: bool,
    rate: float,
    dry_run: bool,
    queue: str,
    identifiers: tuple[str, ...],
) -> int:
    """Send parked messages again: some by their IDs, those that --where finds, or --all.

    Messages that fail again are parked again, and are not replayed a second time. Interrupted, it may be called again: what was
    replayed is left out. One that cannot be sent again is named with the reason, keeps no other back, and makes the command
    exit with 1.
    """
    if sum((bool(identifiers), bool(where), everything)) != 1:
        raise click.UsageError("say which messages: IDs, --where field=value, or --all")
    if identifiers:
        counts = replay_by_id(api, queue, list(identifiers), rate=rate, dry_run=dry_run, refused=_refused)
    else:
        # "Everything" is a filter too: the API refuses a replay that says nothing.
        chosen = where or {"after": "1970-01-01T00:00:00.000Z"}
        counts = replay_by_filter(api, queue, chosen, rate=rate, dry_run=dry_run, refused=_refused)
    if output == "json":
        print_json(counts)
    elif dry_run:
        click.echo(f"{counts['matched']} would be replayed")
    else:
        left = f"; {counts['failed']} could not be" if counts["failed"] else ""
        click.echo(f"{counts['replayed']} replayed{left}")
    return 1 if counts["failed"] else 0


def _refused(identifier: str, reason: str) -> None:
    click.echo(f"{identifier}: {reason}", err=True)


@command.command()
@with_api
@output_option
@file_option("--body", "body", "JSON that becomes the body; - for standard input.")
@click.argument("identifier", metavar="ID")
def edit(api: Api, output: str, body: Path | None, identifier: str) -> None:
    """Repair the body of a parked message, in $EDITOR unless --body says how. What it was stays in its history."""
    where = _path(identifier)
    changed = read_json(body) if body is not None else edited(_readable(api.get(where)))
    if changed is None and body is None:
        click.echo("nothing changed", err=True)
        return
    shown = api.ask("PUT", where, {"body": changed}).body
    if output == "json":
        print_json(shown)
    else:
        queue = partition_part(identifier, "a parked message")
        click.echo(f"{identifier}: changed; `syncd queues replay {queue} {identifier}` sends it again")


@command.command()
@with_api
@yes_option
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def drop(api: Api, yes: bool, identifiers: tuple[str, ...]) -> None:
    """Give parked messages up. They can be looked at for another 30 days, and never be replayed."""
    places = [_path(identifier) for identifier in identifiers]
    sure(f"drop {identifiers[0]}" if len(places) == 1 else f"drop {len(places)} messages", yes=yes)
    for identifier, where in zip(identifiers, places, strict=True):
        api.ask("DELETE", where)
        click.echo(f"{identifier}: dropped")


def _readable(message: JsonObject) -> str:
    """The body as an editor shows it best: JSON with line breaks, or the text that could not be read as JSON."""
    body: str | None = message.get("body")
    if body is None or message.get("bodyEncoding") != "text":
        raise click.UsageError("the body is not text, or too large to be shown: give the new one with --body FILE")
    try:
        return pretty(parse(body.encode()))
    except NotUnderstood:
        return body


def _path(identifier: str) -> str:
    """A parked message's id is `<queue>:<month>.<rest>`."""
    return path("queues", partition_part(identifier, "a parked message"), "parked", identifier)
