"""What people type and hand over: times, fields, filters, JSON from files, secrets, and answers to "are you sure"."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from syncd.domain.errors import BINS, NotUnderstood
from syncd.domain.jsonbody import parse, parse_object
from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.times import iso
from syncd.domain.times import parse as parse_time

F = TypeVar("F", bound=Callable[..., object])

#: Field of `--where` -> its name in the API.
WHERE = {
    "tenant": "tenantId",
    "connection": "connectionId",
    "bin": "bin",
    "reason": "reason",
    "kind": "kind",
    "before": "before",
    "after": "after",
}
_AGO = re.compile(r"(\d{1,6}) ?([smhd])( ago)?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
#: Commas between fields, not those inside a reason.
_BETWEEN = re.compile(rf",\s*(?=(?:{'|'.join(WHERE)})\s*=)")


def moment(text: str) -> str:
    """ISO 8601, without a zone in UTC, or `2h`, `3d ago`. Raises click.BadParameter."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return iso((datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp())
    try:
        return iso(parse_time(text))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time: write 2026-01-31T03:00:00Z, or 2h for two hours ago"
        ) from None


def _filters(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        for one in _BETWEEN.split(text):
            name, equals, value = (part.strip() for part in one.partition("="))
            if name not in WHERE or not equals or not value:
                raise click.BadParameter(f"{one!r} is not field=value; fields: {', '.join(WHERE)}", ctx, option)
            if name == "bin" and value not in BINS:
                raise click.BadParameter(f"there is no bin {value!r}; bins: {', '.join(BINS)}", ctx, option)
            found[WHERE[name]] = moment(value) if name in {"before", "after"} else value
    return found


def where_option(command: F) -> F:
    """`--where field=value,...` (repeatable), passed on as `where` under the API's names."""
    return click.option(
        "--where",
        multiple=True,
        callback=_filters,
        metavar="FIELD=VALUE,...",
        help=f"Only those that match all of it; fields: {', '.join(WHERE)}. A reason matches in part.",
    )(command)


def _pairs(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> JsonObject:
    found: JsonObject = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is not name=value", ctx, option)
        found[name] = typed(value)
    return found


def typed(value: str) -> Json:
    """JSON where it is JSON (numbers, true, null, lists), else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def pairs_option(name: str, target: str, help_text: str) -> Callable[[F], F]:
    """`--name a=b` (repeatable); values are JSON, or text."""
    return click.option(name, target, multiple=True, callback=_pairs, metavar="NAME=VALUE", help=help_text)


def file_option(name: str, target: str, help_text: str) -> Callable[[F], F]:
    """A file to read, or `-` for standard input."""
    path = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True, allow_dash=True)
    return click.option(name, target, type=path, metavar="FILE", help=help_text)


def read_bytes(path: Path) -> bytes:
    """The whole file, or standard input for `-`."""
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def read_json(path: Path) -> Json:
    """Raises click.UsageError with the line where it is not JSON."""
    try:
        return parse(read_bytes(path))
    except NotUnderstood as error:
        raise click.UsageError(f"{path}: {str(error).replace('the body', 'it', 1)}") from None


def read_object(path: Path) -> JsonObject:
    """As `read_json`, and it must be an object."""
    try:
        return parse_object(read_bytes(path))
    except NotUnderstood as error:
        raise click.UsageError(f"{path}: {str(error).replace('the body', 'it', 1)}") from None


def read_secret(path: Path | None, prompt: str) -> str | None:
    """From a file (one trailing line end is not part of it), or asked for at a terminal; None where there is neither."""
    if path is not None:
        try:
            text = read_bytes(path).decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.UsageError(f"{path}: it is not text") from None
        if not text:
            raise click.UsageError(f"{path}: it is empty")
        return text
    if not sys.stdin.isatty():
        return None
    answer: str = click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)
    return answer or None


def pretty(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def edited(text: str) -> Json | None:
    """JSON that somebody made of `text` in $EDITOR; None where nothing was changed. Raises click.UsageError."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("there is no terminal for an editor: give the new content with an option")
    changed: str | None = text
    while True:
        changed = click.edit(changed, extension=".json")
        if changed is None or changed == text:
            return None
        try:
            return parse(changed.encode())
        except NotUnderstood as error:
            click.echo(str(error).replace("the body", "that", 1), err=True)
            click.confirm("Edit it again?", default=True, abort=True, err=True)


def yes_option(command: F) -> F:
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def sure(what: str, *, yes: bool) -> None:
    """Ask at a terminal. Without one, `--yes` must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what} needs --yes where there is no terminal to ask at")
    click.confirm(f"{what}?", abort=True, err=True)


def partition_part(identifier: str, what: str) -> str:
    """`sync-outbound` of `sync-outbound:202311.4f…`: what an id that we issued says before its last colon."""
    found = identifier.rpartition(".")[0].rpartition(":")[0]
    if not found:
        raise click.UsageError(f"{identifier!r} is not the id of {what}")
    return found


def changed_fields(data: Mapping[str, Json], fields: Mapping[str, Json]) -> JsonObject:
    """`data` with `fields` set; a null takes a field out."""
    merged = {**data, **fields}
    return {name: value for name, value in merged.items() if not (name in fields and value is None)}
