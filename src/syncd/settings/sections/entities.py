"""`[entities]`: stored records."""

from __future__ import annotations

from typing import Literal

from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, Size, setting


class EntitySettings(Section):
    shape: Literal["flat", "wrapped"] = setting(
        "wrapped",
        "How entities lie in the store. wrapped: their data under `data`, apart from our fields; flat: each field of the data "
        "at the top and the rest of ours under `_syncd`, for other programs that read the store. Both, and documents of the "
        "systems before, are read either way; flat also lists the latter.",
        restart=True,
    )
    tombstone_ttl: Duration = setting(
        30 * 86400.0,
        "How long a deleted entity is remembered, so that a late event does not bring it back.",
        unit="s",
        least=3600,
        most=3650 * 86400,
    )
    inline_bytes: Size = setting(
        1_500_000,
        "A larger document goes to a blob. Below the 2 MB that Cosmos DB takes, with room for our own fields.",
        unit="bytes",
        least=10_000,
        most=1_800_000,
    )
