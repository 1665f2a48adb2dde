"""What an outgoing request is charged to: the provider (or the one system that a connection of it leads to), the operation there, and
the tenant over all providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from syncd.domain.adaptive import adapted
from syncd.ports.api import Account, ApiOperation
from syncd.ports.limiter import Level

#: Tenants, providers and operations whose levels are kept ready.
_READY = 10_000
_MINUTE = 60.0
_Key = tuple[str, str, str, str, float]


def _nothing() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Calls per minute, as `[limits]` of the settings names them; `declared`, by provider, are those of the providers' own files
    (`Provider.limits`) and count where the settings name none."""

    tenant: int = 5000
    tenants: Mapping[str, int] = field(default_factory=_nothing)
    integration: int = 600
    integrations: Mapping[str, int] = field(default_factory=_nothing)
    operations: Mapping[str, int] = field(default_factory=_nothing)
    declared: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    by_system: frozenset[str] = frozenset()
    """Providers whose connections lead to systems that have nothing to do with each other: these limits are each system's."""
    _levels: dict[_Key, tuple[Level, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def system(self, account: Account, origin: str) -> str:
        """What the account's calls are counted against: its provider, or the system at `origin`. Empty for the former."""
        return origin if account.integration_id in self.by_system else ""

    def levels(
        self, account: Account, operation: ApiOperation, factor: float = 1.0, *, system: str = ""
    ) -> tuple[Level, ...]:
        """Provider (or system), operation (where it has a limit), tenant. `factor` adapts the provider's."""
        key = (account.tenant_id, account.integration_id, system, operation, factor)
        found = self._levels.get(key)
        if found is None:
            if len(self._levels) >= _READY:
                self._levels.clear()
            found = self._levels[key] = self._made(*key)
        return found

    def _made(
        self, tenant_id: str, integration_id: str, system: str, operation: str, factor: float
    ) -> tuple[Level, ...]:
        # Quoted, so that no id with a colon in it shares the key of another.
        tenant, integration = quote(tenant_id, safe=""), quote(integration_id, safe="")
        if system:
            integration += f"@{quote(system, safe='')}"
        declared = self.declared.get(integration_id, {})
        whole = self.integrations.get(integration_id) or declared.get("all") or self.integration
        levels = [Level(f"api:{tenant}:{integration}", adapted(whole, factor), _MINUTE)]
        single = self.operations.get(operation) or declared.get(operation)
        if single:
            levels.append(Level(f"api:{tenant}:{integration}:{operation}", single, _MINUTE))
        levels.append(Level(f"api:{tenant}", self.tenants.get(tenant_id, self.tenant), _MINUTE))
        return tuple(levels)
