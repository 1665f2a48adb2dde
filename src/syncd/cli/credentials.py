"""`syncd credentials`: the secrets of connections and webhooks, as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from syncd.cli.access import with_api
from syncd.cli.client import path
from syncd.cli.options import output_option
from syncd.cli.output import print_json

if TYPE_CHECKING:
    from syncd.cli.client import Api


@click.group()
def command() -> None:
    """Rotate the key under which credentials are kept."""


@command.command("rotate-key")
@with_api
@output_option
def rotate_key(api: Api, output: str) -> None:
    """Encrypt all stored secrets under a new key.

    The new key goes into the key file of the data directory; with SECRET_KEY, set its new text and keep the former one as
    backend.previous_secret_key until this has been run. Interrupted, it may be called again. Backups made before hold the
    former key.
    """
    answer = api.post(path("credentials", "rotate-key"))
    if output == "json":
        print_json(answer)
    else:
        click.echo(f"{answer['rewritten']} versions of secrets are under the new key")
