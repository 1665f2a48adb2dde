"""Watching a task of the daemon until it ends, with a line on stderr where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from syncd.cli.client import path
from syncd.cli.output import print_json, print_rows
from syncd.domain.errors import SyncdError

if TYPE_CHECKING:
    from syncd.cli.client import Api
    from syncd.domain.jsontypes import JsonObject

_ENDED = frozenset({"succeeded", "partial", "failed", "cancelled", "parked"})
#: Between two looks. Seconds.
_LOOK = 0.3


def follow(api: Api, task: JsonObject, output: str) -> int:
    """Wait for its end and print the result; the command's exit code: 0 where it succeeded, also where some records were kept aside."""
    identifier = task["id"]
    click.echo(f"task {identifier}", err=True)
    try:
        with _line(f"{task['syncMode']} {task['connectionId']}") as show:
            while task["status"] not in _ENDED:
                show(task)
                api.pause(_LOOK)
                task = api.get(path("tasks", identifier))
    except KeyboardInterrupt:
        raise SyncdError(
            f"not watched any more; the task goes on in the daemon: `syncd tasks show {identifier}`, `syncd tasks cancel {identifier}`"
        ) from None
    _print(task, _result(api, task), output)
    return 0 if task["status"] in ("succeeded", "partial") else 1


def _result(api: Api, task: JsonObject) -> JsonObject:
    """Of a task that is parked, or that never ran, there is none: the task itself says what there is to say."""
    if task.get("resultId"):
        answer = api.ask("GET", path("results", task["resultId"]), accept=(404,))
        if answer.status != 404:
            assert isinstance(answer.body, dict)
            return answer.body
    return task


def _print(task: JsonObject, result: JsonObject, output: str) -> None:
    if output == "json":
        print_json(result)
    else:
        counts = result.get("counts") or {}
        row = {**counts, "status": task["status"], "milliseconds": result.get("durationMs")}
        print_rows([row], {name: name for name in ("status", *counts, "milliseconds")}, output)
    reason = (task.get("parked") or {}).get("reason") or result.get("error") or task.get("error")
    if task["status"] == "parked":
        reason = f"{reason or 'it is parked'}; `syncd queues parked` shows its message, `syncd tasks retry {task['id']}` begins it anew"
    if reason and task["status"] != "succeeded":
        click.echo(f"{task['status']}: {reason}", err=True)
    if task["status"] == "partial":
        click.echo(f"some records were kept aside: `syncd results show {task['resultId']}` says why", err=True)


@contextmanager
def _line(what: str) -> Iterator[Callable[[JsonObject], None]]:
    """How many records there are in the end nobody knows, so that the bar only shows that something moves."""
    if not sys.stderr.isatty():
        yield lambda task: None
        return
    from rich.console import Console  # here: as in output
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task(what, total=None)
        yield lambda task: bar.update(line, description=f"{what}: {_said(task)}")


def _said(task: JsonObject) -> str:
    counts = {name: count for name, count in (task.get("progress") or {}).items() if count}
    return ", ".join([task["status"], *(f"{count:,} {name}" for name, count in counts.items())])
