"""Documents on Cosmos DB (NoSQL API, gateway mode).

account     the client: connecting, reconnecting, one way to call it, request units
admission   how many requests may be in flight
layout      where documents lie, and the index that queries need
stored      documents as items
selection   queries as SQL
documents   the port `Documents`
writing     writes and batches
checking    what an account lacks, and making it
"""

from __future__ import annotations

from syncd.adapters.azure.cosmos.checking import Finding, check_cosmos, open_cosmos
from syncd.adapters.azure.cosmos.client import Options
from syncd.adapters.azure.cosmos.documents import CosmosDocuments

__all__ = ["CosmosDocuments", "Finding", "Options", "check_cosmos", "open_cosmos"]
