"""`syncd migrate`: make a configuration from the files of the systems that syncd replaces."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from syncd.cli.output import print_json, print_rows
from syncd.domain.errors import SyncdError
from syncd.settings.migration import Migration, migrate

_HEADINGS = {
    "mapped": "Maps",
    "wrong": "Maps, but the value is wrong",
    "obsolete": "Obsolete",
    "unknown": "Not known",
}


@click.command()
@click.option(
    "--from",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help=".env, local.settings.json, exported application settings or host.json; may be repeated.",
)
@click.option(
    "--output",
    default="table",
    metavar="FILE|table|json",
    help="Write the configuration to FILE; table and json print it. Default: table.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(sources: tuple[Path, ...], output: str, force: bool) -> int:
    """Say what maps, what is obsolete and what is missing, and make a configuration.

    Secrets are never written: the file refers to their names, which stay in the environment or the env file.
    """
    migration = migrate(sources)
    target = None if output in {"table", "json"} else Path(output)
    if target is not None:
        _write(target, migration.toml, force=force)
    if output == "json":
        rows = [asdict(row) for row in migration.rows]
        print_json({"names": rows, "missing": migration.missing, "config": migration.toml})
        return 0
    _report(migration)
    if target is None:
        click.echo("\n# ---- the configuration (--output FILE writes it) ----\n")
        click.echo(migration.toml, nl=False)
    else:
        first = next((str(source) for source in sources if migration.secrets), None)
        click.echo(
            f"\nWritten: {target}. Next: syncd check --config {target}{f' --env-file {first}' if first else ''} --offline"
        )
    return 0


def _report(migration: Migration) -> None:
    for verdict, heading in _HEADINGS.items():
        rows = [asdict(row) for row in migration.rows if row.verdict == verdict]
        if rows:
            columns = {"name": "name", "key": "key", "detail": "value or reason"}
            print_rows(
                rows,
                columns if any(row["key"] for row in rows) else {"name": "name", "detail": "reason"},
                "table",
                title=heading,
            )
    if migration.missing:
        print_rows([{"missing": text} for text in migration.missing], {"missing": "name"}, "table", title="Missing")


def _write(target: Path, text: str, *, force: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(target, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.UsageError(f"{target} exists; --force replaces it") from None
    except OSError as error:
        raise SyncdError(f"{target} cannot be written ({error.strerror})") from None
