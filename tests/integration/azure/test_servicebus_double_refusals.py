"""Each refusal of the Service Bus double through the real SDK (`tests/wire/servicebus/refusals.py` is the list)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureSasCredential
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
    ServiceBusServerBusyError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from tests.integration.azure.servicebus_clients import client_of
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, SubscriptionSpec, TopicSpec, service_bus
from tests.wire.servicebus.refusal import NOT_ALLOWED
from tests.wire.servicebus.refusals import REFUSALS

pytestmark = pytest.mark.usefixtures("hurried_sdk")


@pytest.fixture
async def double() -> AsyncIterator[ServiceBusDouble]:
    queues = [
        QueueSpec(name="work", lock_duration=30, max_delivery_count=3, max_message_size=20_000),
        QueueSpec(name="once", duplicate_detection=300),
        QueueSpec(name="threads", requires_session=True, lock_duration=30, max_delivery_count=3),
    ]
    topics = [TopicSpec(name="files", subscriptions=(SubscriptionSpec(name="all"),))]
    async with service_bus(queues=queues, topics=topics) as double:
        yield double


@pytest.fixture
async def client(double: ServiceBusDouble) -> AsyncIterator[ServiceBusClient]:
    async with client_of(double) as client:
        yield client


async def send_to(client: ServiceBusClient, queue: str) -> None:
    async with client.get_queue_sender(queue) as sender:
        await sender.send_messages(ServiceBusMessage(b"x"))


async def receive_from(client: ServiceBusClient, queue: str, **options: Any) -> None:  # Any: the SDK's own options
    async with client.get_queue_receiver(queue, **options) as receiver:
        await receiver.receive_messages(max_message_count=1, max_wait_time=5)


def test_each_refusal_has_its_test() -> None:
    here = Path(__file__).parent
    tests = set(
        re.findall(r"def test_(\w+)", "".join(path.read_text() for path in here.glob("test_servicebus_double*.py")))
    )
    assert {refusal.test for refusal in REFUSALS} <= tests


async def test_a_message_id_seen_within_the_window_is_absorbed(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("once") as sender:
        due = datetime.now(UTC) + timedelta(seconds=60)
        await sender.schedule_messages(ServiceBusMessage(b"first", message_id="a"), due)
        await sender.send_messages(ServiceBusMessage(b"second", message_id="a"))
        await sender.send_messages(ServiceBusMessage(b"other", message_id="b"))
        assert [row.body for row in double.queue("once").messages] == [b"first", b"other"]
        double.advance(300)
        await sender.send_messages(ServiceBusMessage(b"again", message_id="b"))
    assert [row.body for row in double.queue("once").messages] == [b"other", b"first", b"again"]


async def test_a_message_above_the_maximum_is_refused(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender:
        with pytest.raises(MessageSizeExceededError):
            await sender.send_messages(ServiceBusMessage(b"x" * 20_001))
        await sender.send_messages(ServiceBusMessage(b"x" * 19_000))
    assert len(double.queue("work")) == 1


async def test_a_batch_above_the_links_maximum_is_refused(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender:
        with pytest.raises(MessageSizeExceededError):
            await sender.send_messages([ServiceBusMessage(b"x" * 9_000) for _ in range(3)])
        batch = await sender.create_message_batch()
        assert batch.max_size_in_bytes == 20_000
    assert len(double.queue("work")) == 0


async def test_a_batch_enters_whole_or_not_at_all(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("threads") as sender:
        with pytest.raises(ServiceBusError):
            await sender.send_messages([ServiceBusMessage(b"x", session_id="s"), ServiceBusMessage(b"y")])
    assert len(double.queue("threads")) == 0


async def test_a_management_reply_without_credit_never_comes(
    double: ServiceBusDouble, client: ServiceBusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDK's own figure is 10,000; a smaller one is sooner used up, and nothing else is different.
    monkeypatch.setattr("azure.servicebus._pyamqp.aio._link_async.DEFAULT_LINK_CREDIT", 5)
    async with client.get_queue_receiver("work") as receiver:
        for _ in range(5):
            await receiver.peek_messages(timeout=5)
        with pytest.raises(OperationTimeoutError):
            await receiver.peek_messages(timeout=0.5)
    assert len(double.happened("management", operation="peek-message")) == 6


async def test_an_id_above_128_characters_is_refused(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender:
        for name in ("message_id", "group_id"):
            message = ServiceBusMessage(b"x", message_id="m", session_id="s")
            # Past the SDK's own check, as older versions and other languages send it.
            setattr(message.raw_amqp_message.properties, name, "x" * 129)
            with pytest.raises(ServiceBusError, match="128"):
                await sender.send_messages(message)
    assert len(double.queue("work")) == 0


async def test_an_entity_that_is_not_there_is_not_found(client: ServiceBusClient) -> None:
    for attempt in (
        send_to(client, "nothing"),
        receive_from(client, "nothing"),
        receive_from(client, "files/Subscriptions/no"),
    ):
        with pytest.raises(MessagingEntityNotFoundError):
            await attempt


async def test_removing_an_entity_detaches_its_links(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_receiver("work") as receiver:
        double.remove("work")
        with pytest.raises(MessagingEntityNotFoundError):
            await receiver.receive_messages(max_message_count=1, max_wait_time=5)


async def test_a_disabled_entity_refuses_both_ways(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    double.put("work", b"kept")
    async with client.get_queue_sender("work") as sender:
        double.disable("work")
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage(b"on the link that is closed"))
        with pytest.raises(MessagingEntityDisabledError):
            await sender.send_messages(ServiceBusMessage(b"x"))
    with pytest.raises(MessagingEntityDisabledError):
        await receive_from(client, "work")
    double.enable("work")
    async with client.get_queue_receiver("work") as receiver:
        assert len(await receiver.receive_messages(max_message_count=1, max_wait_time=5)) == 1


async def test_an_entity_with_sessions_refuses_a_receiver_without_one(client: ServiceBusClient) -> None:
    with pytest.raises(ServiceBusError, match="requires sessions"):
        await receive_from(client, "threads")


async def test_an_entity_without_sessions_refuses_a_receiver_with_one(client: ServiceBusClient) -> None:
    with pytest.raises(ServiceBusError, match="does not require sessions"):
        await receive_from(client, "work", session_id="s")


async def test_an_entity_with_sessions_refuses_a_message_without_one(client: ServiceBusClient) -> None:
    async with client.get_queue_sender("threads") as sender:
        with pytest.raises(ServiceBusError, match="SessionId"):
            await sender.send_messages(ServiceBusMessage(b"x"))


async def test_a_session_belongs_to_one_receiver_at_a_time(client: ServiceBusClient) -> None:
    async with client.get_queue_receiver("threads", session_id="s"):
        with pytest.raises(SessionCannotBeLockedError):
            await receive_from(client, "threads", session_id="s")


async def test_no_session_in_time_is_a_timeout(client: ServiceBusClient) -> None:
    with pytest.raises(OperationTimeoutError):
        await receive_from(client, "threads", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=1)


async def test_a_session_whose_lock_ran_out_is_lost_and_its_deliveries_count(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    double.put("threads", b"x", session_id="s")
    async with client.get_queue_receiver("threads", session_id="s") as receiver:
        (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        double.advance(31)
        with pytest.raises(SessionLockLostError):
            await receiver.complete_message(message)
    assert [row.deliveries for row in double.queue("threads").active] == [1]


async def test_settling_after_the_lock_is_message_lock_lost(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    double.put("work", b"a", b"b")
    async with client.get_queue_receiver("work") as receiver:
        over_the_link, over_management = await receiver.receive_messages(max_message_count=2, max_wait_time=5)
        double.advance(31)
        with pytest.raises(MessageLockLostError):
            await receiver.complete_message(over_the_link)
        over_management._is_deferred_message = True  # what the SDK asks to settle by management
        with pytest.raises(MessageLockLostError):
            await receiver.abandon_message(over_management)
    assert [row.deliveries for row in double.queue("work").active] == [1, 1]


async def test_a_lock_that_ran_out_cannot_be_renewed(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    double.put("work", b"a")
    async with client.get_queue_receiver("work") as receiver:
        (message,) = await receiver.receive_messages(max_message_count=1, max_wait_time=5)
        double.advance(31)
        with pytest.raises(MessageLockLostError):
            await receiver.renew_message_lock(message)


async def test_a_number_without_a_message_is_not_found(client: ServiceBusClient) -> None:
    async with client.get_queue_receiver("work") as receiver:
        with pytest.raises(MessageNotFoundError):
            await receiver.receive_deferred_messages(4711)
    async with client.get_queue_sender("work") as sender:
        with pytest.raises(MessageNotFoundError):
            await sender.cancel_scheduled_messages(4711)


async def test_a_policy_gives_its_own_rights_only(double: ServiceBusDouble) -> None:
    async with client_of(double, policy="listen") as client:
        with pytest.raises(ServiceBusAuthorizationError):
            await send_to(client, "work")
    async with client_of(double, policy="send") as client:
        with pytest.raises(ServiceBusAuthorizationError):
            await receive_from(client, "work")


async def test_peeking_needs_no_more_than_listen_rights(double: ServiceBusDouble) -> None:
    double.put("files", b"x")
    async with (
        client_of(double, policy="listen") as client,
        client.get_subscription_receiver("files", "all") as receiver,
    ):
        assert [str(message) for message in await receiver.peek_messages(sequence_number=1)] == ["x"]
    assert len(double.subscription("files", "all").active) == 1


@pytest.mark.parametrize("token", ["wrong", "over"])
async def test_a_token_that_is_wrong_or_over_is_refused(double: ServiceBusDouble, token: str) -> None:
    from azure.servicebus._pyamqp.utils import generate_sas_token

    key = {"wrong": "bm9uZSBvZiBvdXJz", "over": re.findall("SharedAccessKey=([^;]+)", double.connection_string)[0]}[
        token
    ]
    expiry = {"wrong": None, "over": 1_700_000_000}[token]
    signed = generate_sas_token(f"sb://{double.host}:{double.port}/work", "RootManageSharedAccessKey", key, expiry)
    options = {"retry_total": 0, "socket_timeout": 0.05, "use_tls": False}
    async with ServiceBusClient(f"{double.host}:{double.port}", AzureSasCredential(signed), **options) as client:
        with pytest.raises((ServiceBusAuthenticationError, ServiceBusAuthorizationError)):
            await send_to(client, "work")
    assert double.happened("refused", operation="token")


async def test_a_token_that_ends_takes_its_links_with_it(double: ServiceBusDouble, client: ServiceBusClient) -> None:
    async with client.get_queue_sender("work") as sender:
        await sender.send_messages(ServiceBusMessage(b"x"))
        double.expire_tokens()
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage(b"x"))
        await sender.send_messages(ServiceBusMessage(b"with a new token"))
    assert [row.body for row in double.queue("work").active] == [b"x", b"with a new token"]


async def test_an_idle_link_is_detached_and_the_client_comes_back(double: ServiceBusDouble) -> None:
    async with (
        client_of(double, retry_total=1, retry_backoff_factor=0.01) as client,
        client.get_queue_sender("work") as sender,
    ):
        await sender.send_messages(ServiceBusMessage(b"x"))
        double.advance(601)
        await sender.send_messages(ServiceBusMessage(b"x"))
    assert len(double.queue("work")) == 2
    assert len(double.happened("attach", link="Producer")) == 2


async def test_a_busy_server_says_so_and_a_retry_gets_through(
    double: ServiceBusDouble, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("work") as sender:
        double.throttle(1)
        with pytest.raises(ServiceBusServerBusyError):
            await sender.send_messages(ServiceBusMessage(b"x"))
        double.heal()
        await sender.send_messages(ServiceBusMessage(b"x"))
    assert len(double.queue("work")) == 1


async def test_some_entities_are_for_one_direction_only(client: ServiceBusClient) -> None:
    for attempt in (
        send_to(client, "work/$DeadLetterQueue"),
        send_to(client, "files/Subscriptions/all"),
        receive_from(client, "files"),
    ):
        with pytest.raises(ServiceBusError, match=NOT_ALLOWED):
            await attempt
