"""`syncd backup`: a copy of the store while it runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from syncd.cli.options import configuration_options, load_configuration, output_option
from syncd.cli.output import print_json, progress
from syncd.domain.errors import SyncdError


@click.command()
@configuration_options
@output_option
@click.argument("target", metavar="PATH", type=click.Path(path_type=Path))
def command(config: Path | None, env_files: tuple[Path, ...], output: str, target: Path) -> int:
    """Copy the data directory to PATH, which must not exist yet. A daemon may go on working in it.

    To restore: stop the daemon, move its data directory away, and put the copy in its place.
    """
    from syncd.adapters.embedded.backup import back_up  # here: listing commands needs no store

    settings = load_configuration(config, env_files).settings
    if settings.backend.documents != "embedded":
        raise SyncdError(f"the documents are in {settings.backend.documents}: back them up with its own tools")
    with progress(f"copying {settings.daemon.data_dir}", 100) as done:
        seen = 0

        def advance(pages: int, total: int) -> None:
            nonlocal seen
            percent = 100 * pages // total if total else 100
            if percent > seen:
                done(percent - seen)
                seen = percent

        made = back_up(settings.daemon.data_dir, target.absolute(), progress=advance)
    if output == "json":
        print_json({"path": str(target.absolute()), **{_camel(name): value for name, value in asdict(made).items()}})
        return 0
    click.echo(f"{target}: the store ({made.store_bytes / 1024**2:.1f} MiB) and {made.blobs} blobs")
    if made.key:
        click.echo("it holds the key file: whoever reads it can read the credentials in it", err=True)
    else:
        click.echo("it holds no key: keep SECRET_KEY, without which the credentials in it cannot be read", err=True)
    return 0


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
