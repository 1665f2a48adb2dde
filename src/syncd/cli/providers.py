"""`syncd providers`: what this installation can talk to, and a beginning for one more."""

from __future__ import annotations

import keyword
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncd.cli.options import output_option
from syncd.cli.output import print_rows
from syncd.domain.errors import SyncdError

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject

_NAME = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")


@click.group()
def command() -> None:
    """List provider adapters, or begin a new one."""


@command.command("list")
@output_option
def list_all(output: str) -> None:
    """The providers of this installation, with their types of objects."""
    from syncd.adapters.providers import load_providers  # here: `--help` needs no provider
    from syncd.flows.operate.providers import described

    rows = [described(provider) for provider in load_providers().values()]
    columns = {"name": "name", "title": "title", "kinds": "types", "webhookSchemes": "webhooks signed by"}
    print_rows(rows if output == "json" else [_row(row) for row in rows], columns, output)


def _row(provider: JsonObject) -> JsonObject:
    if provider["kinds"] is None:
        kinds = "as the connection's settings say"
    else:
        kinds = ", ".join(f"{kind['name']} ({_verbs(kind)})" for kind in provider["kinds"]) or "none"
    return {**provider, "kinds": kinds, "webhookSchemes": ", ".join(provider["webhookSchemes"])}


def _verbs(kind: JsonObject) -> str:
    can = {"read": True, "create": kind["creates"] != "none", "update": kind["updates"], "delete": kind["deletes"]}
    return " ".join(verb for verb, there in can.items() if there)


def _checked(ctx: click.Context, argument: click.Parameter, name: str) -> str:
    from syncd.adapters.providers import load_providers, taken_schemes  # here, as above

    if not _NAME.fullmatch(name) or "--" in name or keyword.iskeyword(name):
        raise click.BadParameter(
            f"{name!r}: 2 to 63 small letters, digits and single '-', beginning with a letter", ctx, argument
        )
    known = load_providers()
    if name in known:
        raise click.BadParameter(f"there is a provider {name!r} already ({known[name].title})", ctx, argument)
    if name in taken_schemes(known):
        raise click.BadParameter(f"a signature scheme is called {name!r} already", ctx, argument)
    return name


@command.command()
@click.argument("name", callback=_checked)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    metavar="DIR",
    help="Where the file goes; default: among syncd's own providers.",
)
def new(name: str, directory: Path | None) -> None:
    """Begin a provider: a commented file to fill in, called NAME."""
    package = files("syncd.adapters.providers")
    text = filled((package / "_template.py").read_text(encoding="utf-8"), name)
    target = (directory or Path(str(package))) / f"{name.replace('-', '_')}.py"
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.UsageError(f"{target} exists") from None
    except OSError as error:
        raise SyncdError(f"{target} cannot be written ({error.strerror}): name a place with --dir") from None
    click.echo(f"Written: {target}")
    for number, step in enumerate(_steps(name, target, outside=directory is not None), 1):
        click.echo(f"  {number}. {step}")


def filled(template: str, name: str) -> str:
    """The template under a name: its own name, scheme, headers and title."""
    title = " ".join(part.capitalize() for part in name.split("-"))
    return template.replace("TITLE", title).replace('"template"', f'"{name}"').replace("x-template-", f"x-{name}-")


def _steps(name: str, target: Path, *, outside: bool) -> list[str]:
    module = name.replace("-", "_")
    steps = [
        f"Go through {target.name} from top to bottom: each comment is a decision",
        f"Write its double, tests/doubles/{module}.py (tests/doubles/contract.py says what it must do)",
        f"Try it: pytest tests/conformance/test_providers.py -k {name}",
        "See it: syncd providers list",
    ]
    if outside:
        entry = f'[project.entry-points."syncd.providers"] {name} = "{module}:PROVIDER"'
        steps.insert(1, f"Make a package of it that declares {entry}, and install that beside syncd")
    return steps
