"""Azure Service Bus as it is on the wire: AMQP 1.0 over TCP, for the real SDKs. Strict where the service is (`refusals.py`)."""

from __future__ import annotations

from tests.wire.servicebus.double import ServiceBusDouble, service_bus
from tests.wire.servicebus.namespace import Happening
from tests.wire.servicebus.specs import QueueSpec, Row, SubscriptionSpec, TopicSpec
from tests.wire.servicebus.state import QueueState

__all__ = [
    "Happening",
    "QueueSpec",
    "QueueState",
    "Row",
    "ServiceBusDouble",
    "SubscriptionSpec",
    "TopicSpec",
    "service_bus",
]
