"""A provider: one SaaS system, described in one file of adapters/providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from syncd.domain.events import ReceivedEvent
from syncd.domain.signatures import SignatureScheme


class WebhookSource(Protocol):
    """How a provider's webhooks are signed and read. Pure: no I/O, no clock, and the same answer for the same input."""

    @property
    def scheme(self) -> SignatureScheme:
        """Its name is unique over all providers."""
        ...

    def event(self, headers: Mapping[str, str], body: bytes) -> ReceivedEvent | None:
        """What an authentic delivery says; None where it says nothing about an object (a ping).

        `headers` are those of the scheme's `kept_headers` that came, names in lower case. Raises NotUnderstood, with a reason
        for a person, for whatever cannot be read; never anything else.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What a provider's file declares as `PROVIDER`. Each capability is there or None; flows ask for the capability, never for
    the name."""

    name: str
    """The `integrationId` that connections and registrations use."""
    title: str
    webhooks: WebhookSource | None = None


Providers = Mapping[str, Provider]
"""By name, sorted."""


def schemes_of(providers: Providers) -> dict[str, SignatureScheme]:
    """The signature schemes of all providers by name. Raises ValueError where two share one."""
    found: dict[str, SignatureScheme] = {}
    for provider in providers.values():
        if provider.webhooks is None:
            continue
        scheme = provider.webhooks.scheme
        if scheme.name in found:
            raise ValueError(f"two providers declare the signature scheme {scheme.name!r}")
        found[scheme.name] = scheme
    return found
