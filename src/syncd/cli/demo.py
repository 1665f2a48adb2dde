"""`syncd demo`: what `make demo` calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

import click

_OFF = frozenset({"", "0", "false", "no", "off"})


@click.command("demo")
@click.option("--leave", is_flag=True, help="End after the summary instead of running on; also DEMO_EXIT=1.")
def command(leave: bool) -> int:
    """Send a daemon of its own 1,000 webhooks, kill -9 it in the middle, start it again, and count from its API.

    Nothing of yours is read or touched. Exit code 0 where every delivery had its effect exactly once, else 1.
    """
    tour: Callable[..., int] = import_module("syncd.demo.tour").guided_tour
    return tour(leave=leave or os.environ.get("DEMO_EXIT", "").strip().lower() not in _OFF)
