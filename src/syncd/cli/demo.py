"""`syncd demo`: what `make demo` calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

import click

_OFF = frozenset({"", "0", "false", "no", "off"})


@click.command("demo")
@click.option("--leave", is_flag=True, help="End after the summary instead of running on; also DEMO_EXIT=1.")
@click.option(
    "--contacts", type=click.IntRange(100, 20_000), default=1000, show_default=True, help="In the sample CRM."
)
@click.option("--events", type=click.IntRange(50, 50_000), default=1000, show_default=True, help="That GitHub sends.")
@click.option(
    "--replicas", type=click.IntRange(1, 10), default=1, show_default=True, help="Daemons; several need --services."
)
@click.option(
    "--services",
    is_flag=True,
    help="Keep everything in the Service Bus, Cosmos DB, Key Vault, Redis and Blob Storage that the environment names, on this machine. "
    "`make demo BACKEND=azure` starts them.",
)
def command(leave: bool, contacts: int, events: int, replicas: int, services: bool) -> int:
    """A daemon of its own keeps a sample CRM and a mail list in step, takes 1,000 webhooks, is killed with kill -9 in the middle of it
    all, is started again, and is held to account from its API and from the records of both systems.

    Nothing of yours is read or touched. Exit code 0 where nothing was lost and nothing doubled, else 1.
    """
    tour: Callable[..., int] = import_module("syncd.demo.tour").guided_tour
    leave = leave or os.environ.get("DEMO_EXIT", "").strip().lower() not in _OFF
    return tour(leave=leave, contacts=contacts, events=events, replicas=replicas, services=services)
