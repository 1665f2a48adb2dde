"""Lists as people and scripts see them: a page of JSON objects and where the next one begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid
from syncd.domain.ids import check_user_id
from syncd.ports.documents import Condition, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncd.domain.collections import Collection
    from syncd.domain.jsontypes import JsonObject
    from syncd.domain.principal import Principal
    from syncd.ports.documents import Document, Documents


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """What a caller asks for: `limit` items after `cursor`."""

    limit: int = 100
    cursor: str | None = None


FIRST_PAGE = Paging()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    items: list[JsonObject]
    cursor: str | None = None
    """None at the end."""

    def as_json(self) -> JsonObject:
        return {"items": self.items, "cursor": self.cursor}


def tenant_conditions(principal: Principal, tenant_id: str | None) -> list[Condition] | None:
    """What narrows a query over all tenants to what this principal sees and asked for; None: it can see nothing of that."""
    if tenant_id is not None:
        return [Condition("tenantId", "eq", tenant_id)] if principal.sees(tenant_id) else None
    if principal.tenants == "*":
        return []
    return [Condition("tenantId", "in", sorted(principal.tenants))]


def one_tenant(principal: Principal, tenant_id: str | None) -> str:
    """The tenant of a list that lies in one partition. Raises Invalid where it is not said and not clear."""
    if tenant_id is not None:
        return check_user_id("tenantId", tenant_id)
    if principal.tenants != "*" and len(principal.tenants) == 1:
        return next(iter(principal.tenants))
    raise Invalid("say which tenant", errors={"tenantId": "needed"})


async def listing(
    documents: Documents,
    collection: Collection,
    *,
    paging: Paging,
    show: Callable[[Document], JsonObject],
    partition: str | None = None,
    where: Sequence[Condition] = (),
    order: str | None = None,
    descending: bool = False,
) -> Listing:
    """One page of one partition, or of all where `partition` is None."""
    page = await documents.query(
        collection,
        Query(
            partition=partition,
            across=partition is None,
            where=where,
            order=order,
            descending=descending,
            limit=paging.limit,
            cursor=paging.cursor,
        ),
    )
    return Listing(items=[show(document) for document in page.items], cursor=page.cursor)
