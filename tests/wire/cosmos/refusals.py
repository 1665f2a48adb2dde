"""What Cosmos DB refuses, as this double refuses it: one row each, with its source. Every row has a test in
tests/integration/azure/test_cosmos_double.py.

Sources: `limits` https://learn.microsoft.com/azure/cosmos-db/concepts-limits, `status` https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb,
`batch` https://learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch, `index` https://learn.microsoft.com/azure/cosmos-db/index-policy,
`ttl` https://learn.microsoft.com/azure/cosmos-db/nosql/time-to-live, `access` https://learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources,
`sdk` azure-cosmos 4.17.1, which knows the status and sub-status.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    status: int
    about: str
    source: str
    substatus: int | None = None


REFUSALS: dict[str, Row] = {
    "signature": Row(401, "the master key's signature is not over this verb, resource and date", "access"),
    "token": Row(401, "the bearer token is not accepted", "access"),
    "date": Row(403, "x-ms-date is more than 15 minutes off", "limits"),
    "no-database": Row(404, "the database does not exist", "sdk", 1003),
    "no-container": Row(404, "the container does not exist", "sdk", 1003),
    "no-item": Row(404, "no item with this id in this partition", "status"),
    "recreated": Row(400, "x-ms-cosmos-intended-collection-rid names another container", "sdk", 1024),
    "exists": Row(409, "an item with this id exists in this partition", "status"),
    "etag": Row(412, "If-Match is not the item's etag", "status"),
    "request-size": Row(413, "a request, and so an item and a batch, holds at most 2 MB", "limits"),
    "batch-count": Row(400, "a batch holds at most 100 operations", "batch"),
    "batch-partition": Row(400, "a batch names one partition key, and each item has it", "batch", 1001),
    "partition-key": Row(400, "the partition key of the header is not the one of the item", "sdk", 1001),
    "id": Row(400, "an id is a string of 1 to 1,023 bytes without / \\ ? #", "limits"),
    "ttl": Row(400, "ttl is -1 or a whole number from 1 to 2,147,483,647", "ttl"),
    "cross-partition": Row(400, "a query without a partition key must say that it crosses partitions", "sdk"),
    "query-plan": Row(400, "the gateway serves no sorted, limited or aggregated query across partitions", "sdk", 1004),
    "order-path": Row(400, "ORDER BY a path that the indexing policy excludes", "index"),
    "composite": Row(400, "ORDER BY several paths without a composite index of exactly these", "index"),
    "syntax": Row(400, "SQL beyond what this double evaluates", "this double"),
    "throttled": Row(429, "the request rate is too large (injected)", "status", 3200),
    "retry-with": Row(449, "a concurrent write of the same item (injected)", "status"),
    "gone": Row(410, "the partition is moving (injected)", "status", 1022),
    "unavailable": Row(503, "the service is not available (injected)", "status"),
}

MOST_BYTES = 2 * 1024 * 1024
MOST_OPERATIONS = 100
MOST_ID_BYTES = 1023


@dataclass
class Refused(Exception):
    """One answer of 4xx or 5xx."""

    name: str
    detail: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        return REFUSALS[self.name]
