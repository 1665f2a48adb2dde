"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click

from syncd.settings import Loaded, find_config, load

F = TypeVar("F", bound=Callable[..., object])


def configuration_options(command: F) -> F:
    """`--config F` and `--env-file F` (repeatable), passed on as `config` and `env_files`."""
    path = click.Path(path_type=Path)
    env_file = click.option(
        "--env-file",
        "env_files",
        type=path,
        multiple=True,
        metavar="FILE",
        help="KEY=VALUE lines or a local.settings.json; may be repeated, the last one wins.",
    )
    config = click.option(
        "--config",
        type=path,
        metavar="FILE",
        help="TOML file; default: $SYNCD_CONFIG, ./config/syncd.toml or ./syncd.toml.",
    )
    return config(env_file(command))


def output_option(command: F) -> F:
    """`--output table|json`, passed on as `output`."""
    choice = click.Choice(["table", "json"])
    return click.option("--output", type=choice, default="table", show_default=True, help="How to print.")(command)


def load_configuration(
    config: Path | None, env_files: Sequence[Path] = (), flags: Mapping[str, object] | None = None
) -> Loaded:
    """The settings of this process. Raises ConfigurationError, which ends the command with 78."""
    return load(find_config(config, os.environ), env_files, os.environ, flags=flags)


def limit_option(command: F) -> F:
    """`--limit N`, passed on as `limit`; None for all."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=100,
        show_default=True,
        callback=lambda ctx, option, value: value or None,
        help="At most so many; 0 for all.",
    )(command)
