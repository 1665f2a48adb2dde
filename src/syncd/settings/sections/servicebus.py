"""`[servicebus]`: Azure Service Bus for queues."""

from __future__ import annotations

from syncd.settings.sections.section import Section
from syncd.settings.values import SecretText, Text, setting


class ServiceBusSettings(Section):
    connection_string: SecretText | None = setting(
        None, "Connection string of the namespace. Setting it selects Service Bus.", early=True
    )
    namespace: Text | None = setting(
        None,
        "Host of the namespace (`name.servicebus.windows.net`), where no connection string is used. Setting it selects Service Bus.",
        early=True,
    )
    queue_inbound: Text = setting("sync-inbound", "Entity behind the queue sync-inbound.", early=True)
    queue_outbound: Text = setting("sync-outbound", "Entity behind the queue sync-outbound.", early=True)
