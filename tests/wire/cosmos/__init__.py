"""Cosmos DB over plain http, for azure-cosmos in gateway mode: strict on what the service refuses (`refusals`), with its own clock,
its own faults (`faults`), and reads that may be one write behind for another client.

    async with CosmosDouble(clock=FrozenClock()) as cosmos:
        CosmosClient(cosmos.endpoint, KEY, enable_endpoint_discovery=False)
"""

from __future__ import annotations

from tests.wire.cosmos.refusals import REFUSALS, Refused
from tests.wire.cosmos.server import KEY, Call, CosmosDouble

__all__ = ["KEY", "REFUSALS", "Call", "CosmosDouble", "Refused"]
