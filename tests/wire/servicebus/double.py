"""The double as tests hold it: a namespace on a port, its clock, its faults and its log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import proton

from syncd.domain.jsontypes import JsonObject
from syncd.ports.clock import Clock
from tests.wire.servicebus.access import POLICIES, ROOT
from tests.wire.servicebus.broker import Broker
from tests.wire.servicebus.message import parse
from tests.wire.servicebus.namespace import Happening, Namespace
from tests.wire.servicebus.refusal import DETACH_FORCED, Refused
from tests.wire.servicebus.specs import QueueSpec, SubscriptionSpec, TopicSpec
from tests.wire.servicebus.state import QueueState


class ServiceBusDouble:
    """Lives in the event loop that made it; clients may live anywhere. Messages last as long as it does."""

    def __init__(self, namespace: Namespace, broker: Broker) -> None:
        self.namespace = namespace
        self.broker = broker

    @property
    def host(self) -> str:
        return self.broker.host

    @property
    def port(self) -> int:
        return self.broker.port

    @property
    def connection_string(self) -> str:
        """For the SDKs. Only in lower case does `true` switch TLS off, and only then is the port kept."""
        return self.connection_string_for(ROOT)

    def connection_string_for(self, policy: str) -> str:
        """With the rights of another policy: `listen` or `send`."""
        key = POLICIES[policy].key
        return (
            f"Endpoint=sb://{self.host}:{self.port};SharedAccessKeyName={policy};SharedAccessKey={key};"
            "UseDevelopmentEmulator=true;"
        )

    # Entities

    def queue(self, path: str) -> QueueState:
        """A queue, or a subscription by `<topic>/Subscriptions/<name>`."""
        return QueueState(self.namespace.source(path))

    def subscription(self, topic: str, name: str) -> QueueState:
        return self.queue(f"{topic}/Subscriptions/{name}")

    def put(
        self,
        path: str,
        *bodies: bytes,
        message_id: str | None = None,
        session_id: str | None = None,
        properties: JsonObject | None = None,
    ) -> list[int | None]:
        """Send to a queue or topic without a client: as strict, and quicker than the SDK, which takes a second to connect.

        Answers sequence numbers, None where it was a duplicate. Raises Refused.
        """
        messages = [
            proton.Message(
                body=body, inferred=True, id=message_id, group_id=session_id, properties=dict(properties or {})
            )
            for body in bodies
        ]
        return self.namespace.send(path, [parse(bytes(message.encode())) for message in messages])

    def add_queue(self, spec: QueueSpec) -> QueueState:
        return QueueState(self.namespace.add_queue(spec))

    def add_topic(self, spec: TopicSpec) -> None:
        self.namespace.add_topic(spec)

    def add_subscription(self, topic: str, spec: SubscriptionSpec) -> QueueState:
        return QueueState(self.namespace.add_subscription(topic, spec))

    def remove(self, path: str) -> None:
        self.namespace.remove(path)

    def disable(self, path: str) -> None:
        self.namespace.enable(path, enabled=False)

    def enable(self, path: str) -> None:
        self.namespace.enable(path, enabled=True)

    # Time

    def now(self) -> float:
        """Unix seconds by the double's clock."""
        return self.namespace.now()

    def advance(self, seconds: float) -> None:
        """Move the double's own clock: locks run out, scheduled messages fall due, and the rest of it."""
        self.namespace.advance(seconds)

    # What happened

    @property
    def log(self) -> list[Happening]:
        return self.namespace.log

    def happened(self, what: str, **facts: object) -> list[Happening]:
        """The lines of the log of this kind and with these facts."""
        return [
            line
            for line in self.namespace.log
            if line.what == what and all(line.facts.get(name) == value for name, value in facts.items())
        ]

    async def until(self, what: str, times: int = 1, **facts: object) -> list[Happening]:
        """Wait until the log has this many such lines. No wait is without end: a test has its own time limit."""
        more = asyncio.Event()
        self.namespace.watchers.append(more.set)
        try:
            while len(lines := self.happened(what, **facts)) < times:
                more.clear()
                await more.wait()
        finally:
            self.namespace.watchers.remove(more.set)
        return lines

    # Faults

    @property
    def latency(self) -> float:
        """Seconds by which every answer is late."""
        return self.broker.faults.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.broker.faults.latency = seconds

    def drop_connections(self) -> int:
        """Reset every connection; how many there were."""
        connections = list(self.broker.connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    def refuse(self) -> None:
        """Nobody listens any more, and every connection is reset: the broker is gone."""
        self.broker.stop_listening()
        self.drop_connections()

    async def accept(self) -> None:
        """Listen again, on the same port, with everything that was stored."""
        await self.broker.listen()

    def silence(self) -> None:
        """Accept connections and read, and answer nothing."""
        self.broker.faults.silent = True

    def speak(self) -> None:
        """End of the silence. What came meanwhile was not read: those connections are reset."""
        self.broker.faults.silent = False
        self.drop_connections()

    def half_open(self) -> int:
        """Every connection is dead without the client being told; new ones work. How many there were."""
        connections = list(self.broker.connections)
        for connection in connections:
            connection.freeze()
        return len(connections)

    def detach_links(self, condition: str = DETACH_FORCED, path: str | None = None) -> int:
        """Close the links to one entity, or to all, with this condition; how many there were."""
        links = [link for link in self.broker.entity_links() if path is None or link.path.lower() == path.lower()]
        for link in links:
            link.connection.detach(link, Refused(condition, "Detached by the test"))
        return len(links)

    def close_idle_links(self) -> None:
        """As if every link had been idle for ten minutes."""
        self.broker.detach_idle(0.0)

    def expire_tokens(self) -> None:
        """Every token that was put has ended: its links are detached, and each needs a new one."""
        for connection in list(self.broker.connections):
            connection.grants.clear()
        self.broker.check_links()

    def fail_next(
        self, operation: str, condition: str, times: int | None = 1, description: str = "Asked for by the test"
    ) -> None:
        """The next `times` of these are refused; None: until `heal`. Names: `faults.OPERATIONS`."""
        self.broker.faults.plan(operation, Refused(condition, description), times)

    def lose_answer(self, operation: str, times: int | None = 1) -> None:
        """The next `times` of these are done, and the connection is reset before the answer."""
        self.broker.faults.plan(operation, None, times)

    def throttle(self, times: int | None = None) -> None:
        """Sends, receives, attaches and management answer that the server is busy: so often each, None until `heal`."""
        self.broker.faults.throttle(times)

    def heal(self) -> None:
        """No operation fails any more."""
        self.broker.faults.planned.clear()


@contextlib.asynccontextmanager
async def service_bus(
    *,
    queues: Sequence[QueueSpec] = (),
    topics: Sequence[TopicSpec] = (),
    clock: Clock | None = None,
    latency: float = 0.0,
    host: str = "127.0.0.1",
    port: int = 0,
    record: bool = True,
) -> AsyncIterator[ServiceBusDouble]:
    """A Service Bus namespace on a free port. `clock`: its time; None is the machine's, moved on by `advance`.

    `record=False` keeps no log, for benchmarks and long runs.
    """
    namespace = Namespace(clock, record=record)
    for queue in queues:
        namespace.add_queue(queue)
    for topic in topics:
        namespace.add_topic(topic)
    broker = Broker(namespace, host=host, port=port)
    broker.faults.latency = latency
    await broker.listen()
    ticking = asyncio.create_task(namespace.run(), name="service bus double")
    try:
        yield ServiceBusDouble(namespace, broker)
    finally:
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        await broker.close()
