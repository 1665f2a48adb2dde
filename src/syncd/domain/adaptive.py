"""How fast a tenant goes at a provider, learnt from what the provider says is used.

    used > 0.9   half the limit           > 0.7   three quarters           < 0.3   all of it again           between: as before

The thresholds are those of the limiter that syncd replaces. The factor is set, not multiplied, so that it goes both ways: at 0.8
after 0.95 it rises from a half to three quarters.
"""

from __future__ import annotations

#: Tenants and providers remembered; the one set longest ago goes first, and begins at 1 again.
MOST_FACTORS = 100_000


def factor_after(factor: float, used: float) -> float:
    """The factor once `used`, a share of the quota, is known."""
    if used > 0.9:
        return 0.5
    if used > 0.7:
        return 0.75
    return 1.0 if used < 0.3 else factor


def adapted(limit: int, factor: float) -> int:
    """`limit` times `factor`, never below 1: what stands still hears nothing that would let it go on."""
    return max(1, int(limit * factor))


class Adaptive:
    """The factors in force by (tenant, provider), in memory: a new process begins at 1 and learns from its first answer."""

    def __init__(self) -> None:
        self._factors: dict[tuple[str, str], float] = {}

    def factor(self, tenant_id: str, integration_id: str) -> float:
        return self._factors.get((tenant_id, integration_id), 1.0)

    def saw(self, tenant_id: str, integration_id: str, used: float) -> bool:
        """Whether that changed the factor."""
        key = (tenant_id, integration_id)
        before = self._factors.get(key, 1.0)
        after = factor_after(before, used)
        if after == before:
            return False
        self._factors.pop(key, None)
        if after != 1.0:
            self._factors[key] = after
            if len(self._factors) > MOST_FACTORS:
                del self._factors[next(iter(self._factors))]
        return True
