"""What the double refuses because the service does, where that is written down, and the test that tries it.

The tests are in tests/integration/azure/test_servicebus_double*.py, through the real SDK. `docs` is MicrosoftDocs/azure-docs,
articles/service-bus-messaging; `sdk` is azure-servicebus 7.15.0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    when: str
    answer: str
    """The condition on the wire, or what happens instead."""
    source: str
    test: str
    """The name of the test's function, without `test_`."""


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "a message id that was seen within the window, of a scheduled message too",
        "accepted, and nothing is stored",
        "docs: duplicate-detection.md",
        "a_message_id_seen_within_the_window_is_absorbed",
    ),
    Refusal(
        "delivered max_delivery_count times, abandoned or with the lock run out",
        "dead letter, MaxDeliveryCountExceeded",
        "docs: service-bus-dead-letter-queues.md",
        "after_the_last_delivery_it_is_dead_with_the_reason",
    ),
    Refusal(
        "a lock that ran out by the broker's clock",
        "the message is offered again, and the delivery counts",
        "docs: message-transfers-locks-settlement.md",
        "a_lock_that_runs_out_by_the_brokers_clock_counts_as_a_delivery",
    ),
    Refusal(
        "time to live over",
        "dead letter, TTLExpiredException, or dropped",
        "docs: message-expiration.md",
        "what_outlives_its_time_is_dead_lettered_or_dropped",
    ),
    Refusal(
        "a message above the entity's maximum",
        "amqp:link:message-size-exceeded",
        "docs: service-bus-quotas.md",
        "a_message_above_the_maximum_is_refused",
    ),
    Refusal(
        "a batch above the link's maximum, which the attach announces",
        "amqp:link:message-size-exceeded",
        "docs: service-bus-quotas.md; sdk: aio/_servicebus_sender_async.py",
        "a_batch_above_the_links_maximum_is_refused",
    ),
    Refusal(
        "one message of a batch may not enter",
        "the whole batch is refused",
        "docs: service-bus-performance-improvements.md (a batch is one operation)",
        "a_batch_enters_whole_or_not_at_all",
    ),
    Refusal(
        "no credit on the link of management replies (the SDK grants 10,000 once)",
        "the reply waits, for ever",
        "OASIS AMQP 1.0 part 2, 2.6.7; sdk: _pyamqp/aio/_receiver_async.py",
        "a_management_reply_without_credit_never_comes",
    ),
    Refusal(
        "message id or session id above 128 characters",
        "com.microsoft:argument-error",
        "docs: service-bus-quotas.md",
        "an_id_above_128_characters_is_refused",
    ),
    Refusal(
        "an entity that is not there, for sending, receiving or management",
        "attach with null source and target, then detach with amqp:not-found",
        "docs: service-bus-amqp-protocol-guide.md",
        "an_entity_that_is_not_there_is_not_found",
    ),
    Refusal(
        "an entity that is removed while links to it are open",
        "detach with amqp:not-found",
        "docs: service-bus-amqp-troubleshoot.md",
        "removing_an_entity_detaches_its_links",
    ),
    Refusal(
        "a disabled entity",
        "com.microsoft:entity-disabled",
        "docs: entity-suspend.md",
        "a_disabled_entity_refuses_both_ways",
    ),
    Refusal(
        "a receiver without a session on an entity that requires them",
        "amqp:not-allowed",
        "docs: message-sessions.md",
        "an_entity_with_sessions_refuses_a_receiver_without_one",
    ),
    Refusal(
        "a receiver with a session on an entity without them",
        "amqp:not-allowed",
        "docs: message-sessions.md",
        "an_entity_without_sessions_refuses_a_receiver_with_one",
    ),
    Refusal(
        "a message without a session id to an entity that requires them",
        "amqp:not-allowed",
        "docs: message-sessions.md",
        "an_entity_with_sessions_refuses_a_message_without_one",
    ),
    Refusal(
        "a session that another receiver holds",
        "com.microsoft:session-cannot-be-locked",
        "docs: service-bus-messaging-exceptions.md",
        "a_session_belongs_to_one_receiver_at_a_time",
    ),
    Refusal(
        "no session with messages becomes free in time",
        "com.microsoft:timeout",
        "sdk: aio/_transport/_pyamqp_transport_async.py (com.microsoft:timeout of the attach)",
        "no_session_in_time_is_a_timeout",
    ),
    Refusal(
        "a session whose lock ran out",
        "detach with com.microsoft:session-lock-lost; its deliveries count",
        "docs: message-sessions.md",
        "a_session_whose_lock_ran_out_is_lost_and_its_deliveries_count",
    ),
    Refusal(
        "settling with a lock that ran out or never was, over the link and over management",
        "rejected with com.microsoft:message-lock-lost; 410",
        "docs: message-transfers-locks-settlement.md",
        "settling_after_the_lock_is_message_lock_lost",
    ),
    Refusal(
        "renewing a lock that ran out",
        "410 com.microsoft:message-lock-lost",
        "docs: service-bus-amqp-request-response.md (message renew lock)",
        "a_lock_that_ran_out_cannot_be_renewed",
    ),
    Refusal(
        "a deferred or scheduled message that is not there",
        "404 com.microsoft:message-not-found",
        "docs: service-bus-amqp-request-response.md",
        "a_number_without_a_message_is_not_found",
    ),
    Refusal(
        "sending without the right to send, receiving without the right to listen",
        "detach with amqp:unauthorized-access",
        "docs: service-bus-sas.md",
        "a_policy_gives_its_own_rights_only",
    ),
    Refusal(
        "anything but listening with listen rights: peeking is listening",
        "peek works, schedule is amqp:unauthorized-access",
        "docs: service-bus-sas.md (rights required for operations)",
        "peeking_needs_no_more_than_listen_rights",
    ),
    Refusal(
        "a token with the wrong key, or one that has ended",
        "status-code 401 on $cbs",
        "docs: service-bus-sas.md",
        "a_token_that_is_wrong_or_over_is_refused",
    ),
    Refusal(
        "a token that ends while links are open",
        "detach with amqp:unauthorized-access",
        "docs: service-bus-amqp-protocol-guide.md (claims-based authorization)",
        "a_token_that_ends_takes_its_links_with_it",
    ),
    Refusal(
        "a link over which nothing went for ten minutes",
        "detach with amqp:link:detach-forced",
        "docs: service-bus-amqp-troubleshoot.md",
        "an_idle_link_is_detached_and_the_client_comes_back",
    ),
    Refusal(
        "too many requests",
        "com.microsoft:server-busy; the next try may work",
        "docs: service-bus-throttling.md",
        "a_busy_server_says_so_and_a_retry_gets_through",
    ),
    Refusal(
        "sending to a dead-letter queue or a subscription, receiving from a topic",
        "amqp:not-allowed",
        "docs: service-bus-queues-topics-subscriptions.md",
        "some_entities_are_for_one_direction_only",
    ),
    Refusal(
        "a message that matches no rule of a subscription",
        "it is not copied there",
        "docs: topic-filters.md",
        "a_topic_copies_to_the_subscriptions_whose_rule_matches",
    ),
    Refusal(
        "administration: making what is there, and settings beyond the limits or that are fixed for good",
        "409; 400",
        "docs: service-bus-quotas.md, duplicate-detection.md, message-sessions.md",
        "nothing_is_made_twice_or_beyond_the_limits",
    ),
    Refusal(
        "administration: an entity that is not there",
        "404; reading one is answered with an empty feed",
        "sdk: aio/management/_management_client_async.py",
        "what_is_not_there_is_not_found",
    ),
    Refusal(
        "administration without the right to manage, reading too",
        "401",
        "docs: service-bus-sas.md (rights required for operations)",
        "administration_needs_the_right_to_manage",
    ),
)
