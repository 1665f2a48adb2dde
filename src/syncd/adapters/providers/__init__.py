"""Providers, found by name: every module here that does not begin with `_` declares one `PROVIDER`.

A new provider is one new file; nothing has to be registered anywhere. A provider outside syncd is an entry point of the group
`syncd.providers` in a package that is installed beside it: its name is the provider's, its value leads to a `PROVIDER`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Collection
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from syncd.domain.errors import Invalid
from syncd.domain.ids import USER_ID
from syncd.domain.schemes import GENERIC
from syncd.ports.provider import Provider, Providers, schemes_of

GROUP = "syncd.providers"


def load_providers(*, others: Collection[EntryPoint] | None = None) -> Providers:
    """All of them, sorted by name. `others`: entry points; None: those that are installed.

    Raises ValueError where a file declares none, another name than its own, or a scheme whose name is taken; Invalid where an
    installed package does.
    """
    found: dict[str, Provider] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_"):
            continue
        provider = getattr(import_module(f"{__name__}.{module.name}"), "PROVIDER", None)
        if not isinstance(provider, Provider):
            raise ValueError(f"the provider file {module.name}.py declares no PROVIDER")  # noqa: TRY004 (a wrong file, not a wrong argument)
        if provider.name != module.name.replace("_", "-") or not USER_ID.fullmatch(provider.name):
            raise ValueError(f"the provider file {module.name}.py declares the name {provider.name!r}")
        found[provider.name] = provider
    for point in entry_points(group=GROUP) if others is None else others:
        provider = _installed(point)
        if provider.name in found:
            raise Invalid(f"{_source(point)} brings a provider {provider.name!r}, and there is one already")
        found[provider.name] = provider
    if taken := schemes_of(found).keys() & GENERIC.keys():
        raise ValueError(f"the scheme name {min(taken)!r} is a generic one")
    return dict(sorted(found.items()))


def taken_schemes(providers: Providers) -> frozenset[str]:
    """Names that a new provider's signature scheme cannot have."""
    return frozenset((*schemes_of(providers), *GENERIC))


def _installed(point: EntryPoint) -> Provider:
    try:
        provider = point.load()
    except Exception as error:  # somebody else's module may raise anything while it is imported
        raise Invalid(f"{_source(point)} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(provider, Provider) or provider.name != point.name or not USER_ID.fullmatch(provider.name):
        raise Invalid(f"{_source(point)} leads to no Provider of the name {point.name!r}")
    return provider


def _source(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "a package"
    return f"{package} ({GROUP}: {point.name} = {point.value})"
