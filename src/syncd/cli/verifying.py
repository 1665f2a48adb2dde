"""`syncd webhooks verify`: does a recorded request carry a right signature, and what would be read from it. Asks no daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from syncd.cli.inputs import file_option, moment, pairs_option, read_bytes, read_secret
from syncd.cli.options import output_option
from syncd.cli.output import print_document
from syncd.cli.recorded import Recorded, check, near_misses, read_recorded
from syncd.domain.errors import Invalid, NotUnderstood, Unauthorized
from syncd.domain.schemes import scheme_for
from syncd.domain.secrets import Secret
from syncd.domain.signatures import key_of
from syncd.domain.times import iso_or_none
from syncd.domain.times import parse as parse_time

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.signatures import SignatureScheme
    from syncd.ports.provider import Providers

_GENERIC = "hmac-sha256"


@click.command()
@output_option
@click.option("--scheme", metavar="NAME", default=_GENERIC, show_default=True, help="As the registration has it.")
@pairs_option("--setting", "settings", "A setting of a generic scheme, such as header=X-Sig; may be repeated.")
@file_option("--secret-file", "secret_file", "File with the secret, - for standard input; left out: it is asked for.")
@click.option("--secret", help="The secret itself. Other users of this machine can read it: better a file.")
@click.option("--at", type=moment, metavar="TIME", help="When it came; left out: a signed time may be of any age.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
def verify(
    output: str,
    scheme: str,
    settings: JsonObject,
    secret_file: Path | None,
    secret: str | None,
    at: str | None,
    file: Path,
) -> int:
    """Check a recorded request, offline: exits 0 where its signature is right, else 1 with the reason.

    FILE holds the request as it was on the wire (headers, an empty line, the body), or JSON {"headers": {...}, "body": "..."}
    or with "bodyBase64".
    """
    if secret is not None and secret_file is not None:
        raise click.UsageError("--secret and --secret-file exclude each other")
    if str(file) == "-" and str(secret_file) == "-":
        raise click.UsageError("only one of FILE and --secret-file can be standard input")
    known = _providers()
    try:
        chosen = scheme_for(scheme, settings, _schemes(known))
        recorded = read_recorded(read_bytes(file))
        given = secret if secret is not None else read_secret(secret_file, "Secret")
        if given is None:
            raise click.UsageError("give the secret with --secret-file FILE")
        key_of(chosen, Secret(given))
    except NotUnderstood as error:
        raise click.UsageError(f"{file}: {error}") from None
    except Invalid as error:
        raise click.UsageError(str(error)) from None
    answer = _verdict(chosen, Secret(given), recorded, at=None if at is None else parse_time(at))
    if answer["verified"]:
        answer |= _event(known, chosen, recorded)
    print_document({**answer, "notes": list(recorded.notes) or None} if recorded.notes else answer, output)
    return 0 if answer["verified"] else 1


def _verdict(scheme: SignatureScheme, secret: Secret, recorded: Recorded, *, at: float | None) -> JsonObject:
    answer: JsonObject = {"verified": False, "scheme": scheme.name, "bodyBytes": len(recorded.body)}
    try:
        verified = check(scheme, secret, recorded, at=at)
    except Unauthorized as error:
        answer["reason"] = str(error)
        if scheme.header in recorded.headers:
            hints = list(near_misses(scheme, secret, recorded))
            if hints:
                answer["hint"] = f"it matches {hints[0]}"
        return answer
    answer["verified"] = True
    answer["deliveryId"] = verified.delivery_id
    if verified.signed_at is not None:
        answer["signedAt"] = iso_or_none(verified.signed_at)
    return answer


def _event(known: Providers, scheme: SignatureScheme, recorded: Recorded) -> JsonObject:
    """What the provider that owns this scheme would read from it."""
    for provider in known.values():
        if provider.webhooks is None or provider.webhooks.scheme.name != scheme.name:
            continue
        headers = {name: value for name, value in recorded.headers.items() if name in scheme.kept_headers}
        try:
            event = provider.webhooks.event(headers, recorded.body)
        except NotUnderstood as error:
            return {"event": None, "wouldBe": f"parked: {error}"}
        if event is None:
            return {"event": None, "wouldBe": "accepted, without an entity"}
        return {
            "event": event.event_type,
            "entityType": event.entity_type,
            "entityId": event.entity_id,
            "operation": event.operation,
        }
    return {}


def default_scheme(integration: str) -> str:
    """The scheme that the integration's provider declares, else the plain one."""
    provider = _providers().get(integration)
    return _GENERIC if provider is None or provider.webhooks is None else provider.webhooks.scheme.name


def _providers() -> Providers:
    from syncd.adapters.providers import load_providers  # here: listing commands needs no provider

    return load_providers()


def _schemes(known: Providers) -> dict[str, SignatureScheme]:
    from syncd.ports.provider import schemes_of

    return schemes_of(known)
