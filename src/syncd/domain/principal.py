"""Who is asking, and what they may see and change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from syncd.domain.errors import Forbidden, NotFound

#: `read` looks, `operate` also changes.
Role = Literal["read", "operate"]
ALL_TENANTS: Literal["*"] = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who has shown a token. `tenants` is `*` or the ids that this token may touch."""

    name: str
    role: Role = "read"
    tenants: Literal["*"] | frozenset[str] = ALL_TENANTS

    @property
    def everywhere(self) -> bool:
        return self.tenants == ALL_TENANTS

    def sees(self, tenant_id: object) -> bool:
        """Whether what belongs to `tenant_id` exists at all for this principal. What belongs to nobody is for `*` only."""
        return self.tenants == ALL_TENANTS or tenant_id in self.tenants

    def may_operate(self) -> None:
        """Raises Forbidden for a token that may only read."""
        if self.role != "operate":
            raise Forbidden(f"the token {self.name!r} may only read; this needs the role operate")

    def may_operate_in(self, tenant_id: str) -> None:
        """Raises Forbidden unless this principal may create things in `tenant_id`."""
        self.may_operate()
        if not self.sees(tenant_id):
            raise Forbidden(f"the token {self.name!r} may not act for the tenant {tenant_id!r}")

    def must_be_everywhere(self, what: str) -> None:
        """Raises Forbidden for a token limited to tenants, where `what` belongs to the whole deployment."""
        if not self.everywhere:
            raise Forbidden(f"{what} belong to the whole deployment; the token {self.name!r} is limited to tenants")

    def must_see(self, tenant_id: object, what: str) -> None:
        """Raises NotFound, never Forbidden: whether another tenant's things exist is not told."""
        if not self.sees(tenant_id):
            raise NotFound(f"there is no {what}")


#: The command line where it opens the store itself, and the daemon's own jobs.
LOCAL = Principal(name="local", role="operate")
