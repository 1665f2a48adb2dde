"""`syncd run`: the daemon."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click

from syncd.cli.options import configuration_options, load_configuration
from syncd.settings import ROLES, Loaded


def _roles(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[str]:
    roles = [role.strip() for text in given for role in text.split(",") if role.strip()]
    for role in roles:
        if role not in ROLES:
            close = difflib.get_close_matches(role, ROLES, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise click.BadParameter(f"{role!r} is no role{hint}; roles: {', '.join(ROLES)}", ctx, option)
    return list(dict.fromkeys(roles))


@click.command("run")
@configuration_options
@click.option("--role", "roles", multiple=True, callback=_roles, metavar="ROLE,...", help="Parts to run; default: all.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the store lives; default: ./var.")
def command(config: Path | None, env_files: tuple[Path, ...], roles: list[str], data_dir: Path | None) -> int:
    """Run the daemon until SIGTERM. SIGHUP reads the file and the env files again."""
    flags: dict[str, object] = {}
    if roles:
        flags["daemon.roles"] = roles
    if data_dir is not None:
        flags["daemon.data_dir"] = str(data_dir)
    loaded = load_configuration(config, env_files, flags)
    start: Callable[[Loaded], int] = import_module("syncd.bootstrap").run
    return start(loaded)
