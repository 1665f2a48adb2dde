"""`syncd status`: how the daemon is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_daemon
from syncd.cli.options import output_option
from syncd.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from syncd.cli.client import Api


@click.command()
@with_daemon
@output_option
def command(api: Api, output: str) -> int:
    """Whether the daemon is ready, and how its parts are; exits 1 unless it is ready."""
    answer = api.ask("GET", "/readyz", accept=(503,))
    health = answer.body
    if output == "json":
        print_json(health)
    else:
        facts = f"syncd {health['version']}: {health['status']}, generation {health['generation']}"
        click.echo(f"{facts}, roles {', '.join(health['roles'])}")
        print_rows(health["components"], {"name": "part", "status": "status", "detail": "detail"}, output)
        if health.get("lastReloadError"):
            click.echo(f"the last reload was refused: {health['lastReloadError']}")
    return 0 if answer.status == 200 else 1
