"""Providers as people see them: what this installation can talk to, and what can be done there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid
from syncd.domain.schemes import GENERIC
from syncd.flows.operate.paging import Listing

if TYPE_CHECKING:
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.ports.provider import Kind, Provider, Providers


class ProvidersFlow:
    def __init__(self, *, providers: Providers) -> None:
        self._providers = providers

    def list(self, principal: Principal) -> Listing:
        """All of them: what is installed is no secret of any tenant."""
        return Listing(items=[described(provider) for provider in self._providers.values()])


def described(provider: Provider) -> JsonObject:
    """`kinds` is null where a connection's settings say what there is, and empty where objects are neither read nor written."""
    return {
        "name": provider.name,
        "title": provider.title,
        "webhookSchemes": [provider.webhooks.scheme.name] if provider.webhooks else sorted(GENERIC),
        "kinds": _kinds(provider),
        "limits": dict(provider.limits),
    }


def _kinds(provider: Provider) -> list[JsonObject] | None:
    if provider.records is None:
        return []
    try:
        kinds = provider.records.kinds({})
    except Invalid:
        return None
    return [_kind(kind) for kind in kinds.values()]


def _kind(kind: Kind) -> JsonObject:
    return {
        "name": kind.name,
        "creates": kind.creates,
        "updates": kind.updates,
        "deletes": kind.deletes,
        "conditional": kind.conditional,
        "incremental": kind.incremental,
        "deletesVisible": kind.deletes_visible,
        "writable": None if kind.fields.writable is None else sorted(kind.fields.writable - kind.fields.read_only),
        "readOnly": sorted(kind.fields.read_only),
    }
