"""Providers, found by name: every module here that does not begin with `_` declares one `PROVIDER`.

A new provider is one new file; nothing has to be registered anywhere.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from syncd.domain.ids import USER_ID
from syncd.domain.schemes import GENERIC
from syncd.ports.provider import Provider, Providers, schemes_of


def load_providers() -> Providers:
    """All of them, sorted by name. Raises ValueError where a file declares none, another name than its own, or a scheme whose
    name is taken."""
    found: dict[str, Provider] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if module.name.startswith("_"):
            continue
        provider = getattr(import_module(f"{__name__}.{module.name}"), "PROVIDER", None)
        if not isinstance(provider, Provider):
            raise ValueError(f"the provider file {module.name}.py declares no PROVIDER")  # noqa: TRY004 (a wrong file, not a wrong argument)
        if provider.name != module.name.replace("_", "-") or not USER_ID.fullmatch(provider.name):
            raise ValueError(f"the provider file {module.name}.py declares the name {provider.name!r}")
        found[provider.name] = provider
    taken = schemes_of(found).keys() & GENERIC.keys()
    if taken:
        raise ValueError(f"the scheme name {min(taken)!r} is a generic one")
    return found
