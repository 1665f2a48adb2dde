"""`[queue]`: all queues; `[queues.<name>]`: one of them."""

from __future__ import annotations

from collections.abc import Mapping

from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, Size, Whole, setting


class QueueSettings(Section):
    inline_bytes: Size = setting(
        64 * 1024,
        "Largest body carried inside a message; larger ones go to a blob first. A quarter of the 256 KiB that Service Bus "
        "standard takes, so that properties and lanes always fit.",
        unit="bytes",
        least=1024,
        most=192 * 1024,
    )
    lease_duration: Duration = setting(
        60.0,
        "How long a message belongs to a worker before it must be renewed: after a kill -9 others wait at most so long.",
        unit="s",
        least=5,
        most=300,
    )
    dedupe_window: Duration = setting(
        600.0,
        "How long a second send with the same id is absorbed, unless the sender says otherwise. Service Bus's own default.",
        unit="s",
        least=20,
        most=7 * 86400,
    )
    max_deliveries: Whole = setting(
        5,
        "Leases of one hop before the message is parked because its worker died with it each time.",
        least=1,
        most=100,
    )
    lifetime: Duration = setting(
        7 * 86400.0,
        "A message without an outcome after so long is parked as expired.",
        unit="s",
        least=60,
        most=90 * 86400,
    )
    idle_after: Duration = setting(
        600.0,
        "After so long without a message all receivers of a queue close but one that holds nothing.",
        unit="s",
        least=1,
        most=86400,
    )
    inbox_operations: Whole = setting(
        10_000,
        "Writes that may wait for the embedded store's writer before it answers overloaded.",
        least=100,
        most=1_000_000,
        restart=True,
    )
    inbox_bytes: Size = setting(
        64 * 1024 * 1024,
        "Bytes that may wait for the embedded store's writer before it answers overloaded.",
        unit="bytes",
        least=2**20,
        most=2**32,
        restart=True,
    )


class QueueOverrides(Section):
    min_receivers: Whole = setting(1, "Units worked on at once when little is waiting.", least=1, most=1000)
    max_receivers: Whole = setting(10, "Units worked on at once when much is waiting.", least=1, most=1000)
    group_cap: Whole | None = setting(
        None,
        "Units in flight for one tenant and connection. Left out: half of max_receivers (at least 1), so that one "
        "customer cannot hold the whole queue.",
        least=1,
        most=1000,
    )
    soft_limit: Duration = setting(
        300.0,
        "A unit is told to stop after so long: pulls save their cursor and continue later.",
        unit="s",
        least=1,
        most=86400,
    )
    hard_limit: Duration = setting(
        360.0, "A unit is cancelled after so long, and abandoned if it swallows that.", unit="s", least=1, most=86400
    )

    @property
    def effective_group_cap(self) -> int:
        return self.group_cap or max(1, self.max_receivers // 2)


#: Soft and hard limits of azure_api and reports are those of the tasks that they replace (600/660 and 1200/1320 s).
QUEUES: Mapping[str, Mapping[str, object]] = {
    "sync-inbound": {"max_receivers": 10, "soft_limit": 300.0, "hard_limit": 360.0},
    "sync-outbound": {"max_receivers": 50, "soft_limit": 120.0, "hard_limit": 150.0},
    "azure_api": {"max_receivers": 10, "soft_limit": 600.0, "hard_limit": 660.0},
    "reports": {"max_receivers": 4, "soft_limit": 1200.0, "hard_limit": 1320.0},
}
