"""Print what a command found: a table for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from syncd.domain.jsontypes import Json

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"ok": "green", "note": "yellow", "degraded": "yellow", "waiting": "yellow", "failed": "red", "wrong": "red"}
_STYLES |= {"succeeded": "green", "processed": "green", "unknown": "yellow", "parked": "yellow", "rejected": "red"}


def print_json(value: Json) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Json]], columns: Mapping[str, str], output: str, *, title: str = "") -> None:
    """`columns`: field -> heading. As JSON, whole rows are printed, fields without a column included.

    Without a terminal the table is as wide as its content, so that `grep` finds whole lines.
    """
    if output == "json":
        print_json(list(rows))
        return
    from rich.box import SIMPLE_HEAD  # here: a daemon must not pay for it at start
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, overflow="fold", no_wrap=not terminal)
    for row in rows:
        table.add_row(*(_cell(row.get(field), styled=field in {"status", "verdict"}) for field in columns))
    if terminal:
        Console(highlight=False).print(table)
        return
    console = Console(width=10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")))


def print_document(document: Json, output: str) -> None:
    """One thing: as JSON whole, as a table a line per field, nested objects with dotted names."""
    if output == "json":
        print_json(document)
        return
    rows = [{"field": name, "value": value} for name, value in _flat(document, "")]
    print_rows(rows, {"field": "field", "value": "value"}, output)


def _flat(value: Json, name: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal; call what it yields with how many more are done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console  # here, as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def _cell(value: Json, *, styled: bool) -> Text:
    from rich.text import Text  # plain text: a value with [brackets] is not markup

    if value is None:
        text = "-"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return Text(text, style=_STYLES.get(text, "") if styled else "")
