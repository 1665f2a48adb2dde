"""What each event means: which metrics it moves, and whether it is a line of its own in the log.

One row per event. A row may be added by whoever observes something new; an event without a row is counted under its own name
and logged at debug.
"""

from __future__ import annotations

from collections.abc import Mapping

from syncd.telemetry.metrics import SECONDS
from syncd.telemetry.rows import Count, Event, Measure, Sampled

#: By queue or job: the prefix of its metrics and the function by which existing queries know it.
OPERATIONS: dict[str, tuple[str, str]] = {
    "sync-inbound": ("inbound", "SyncInboundWorker"),
    "sync-outbound": ("outbound", "SyncOutboundWorker"),
    "azure_api": ("advisor", "advisor"),
    "reports": ("report", "advisor"),
    "sync-scheduler": ("scheduler", "SyncScheduler"),
    "token-refresher": ("refresher", "TokenRefresher"),
    "finops-daily-sync": ("finops", "finops-daily-sync"),
    "aci-scaler": ("scaler", "aci-scaler"),
    "advisor-refresh": ("advisor_refresh", "advisor"),
    "maintenance": ("maintenance", "maintenance"),
}
#: Outcomes that count as success and as failure; what merely goes on (continue, snooze) is neither.
SUCCEEDED = frozenset({"done", "succeeded"})
FAILED = frozenset({"retry", "park", "failed", "unknown", "timeout"})


#: Lines of units that were not their turn yet.
WAITING = Sampled(by=("queue", "kind"))


def outcome_in(facts: Mapping[str, object]) -> object:
    """How a unit of work (`outcome`) or a run of a job (`status`) ended; None where it did not end."""
    return facts.get("outcome", facts.get("status"))


EVENTS: dict[str, Event] = {
    # Webhooks
    "webhook_accepted": Event(
        counts=(
            Count("webhook_success", "Webhook events that are stored and were answered 2xx.", unless="duplicate"),
            Count("webhook_duplicates", "Webhook events that were known already.", when="duplicate"),
        ),
        measures=(Measure("webhook_latency_ms", "From a webhook's headers to its answer, milliseconds."),),
        lines="canonical",
        function="WebhookReceiver",
    ),
    "webhook_rejected": Event(
        counts=(Count("webhook_rejected", "Webhook requests that were refused.", ("reason",)),),
        level="warning",
        sampled=Sampled(by=("registration", "reason")),
        function="WebhookReceiver",
    ),
    "duplicate_not_counted": Event(lines="debug", function="WebhookReceiver"),
    "rejection_not_recorded": Event(level="warning", function="WebhookReceiver"),
    "webhook_processed": Event(
        counts=(Count("webhook_processed", "Webhook events that were applied, by what they changed.", ("effect",)),),
        lines="debug",
        function="SyncOutboundWorker",
    ),
    "change_processed": Event(
        counts=(
            Count("changes_processed", "Changes asked for by message, by what they did.", ("operation", "effect")),
        ),
        lines="debug",
        function="SyncOutboundWorker",
    ),
    "conflict_recorded": Event(
        counts=(
            Count(
                "conflicts_recorded", "Conflicts written down; open ones wait for a person.", ("entity_type", "status")
            ),
        ),
        lines="debug",
    ),
    # HTTP, both ways
    "http_aborted": Event(
        counts=(Count("http_aborted", "Requests whose client went away.", ("path",)),), lines="debug"
    ),
    "http_failed": Event(counts=(Count("http_failed", "Requests that ended in an unexpected error."),), level="error"),
    "http_call": Event(
        counts=(Count("http_calls", "Outgoing calls, by status; 0 where there was no answer.", ("status",)),),
        measures=(Measure("http_call_duration_ms", "Outgoing calls, milliseconds."),),
        lines="debug",
    ),
    "provider_request": Event(
        counts=(
            Count(
                "provider_requests",
                "Requests to providers, by status; 0 where there was no answer.",
                ("integrationId", "operation", "status"),
            ),
        ),
        measures=(Measure("provider_request_duration_ms", "Requests to providers, milliseconds.", ("integrationId",)),),
        lines="debug",
    ),
    "limit_adapted": Event(
        counts=(Count("limits_adapted", "Changes of pace that providers' headers asked for.", ("integrationId",)),),
        sampled=Sampled(by=("tenantId", "integrationId", "factor"), every=60.0),
    ),
    "limiter_lost": Event(
        counts=(Count("limiter_outages", "Times that the shared limiter went away."),), level="warning"
    ),
    "limiter_returned": Event(
        measures=(
            Measure(
                "limiter_outage_seconds",
                "How long the shared limiter was away.",
                fact="seconds",
                scale=1.0,
                bounds=SECONDS,
            ),
        ),
    ),
    "limiter_failed_over": Event(
        counts=(Count("limiter_failovers", "Times that another Redis took over the shared limiter."),), level="warning"
    ),
    "limiter_forgot": Event(
        counts=(Count("limiter_forgot", "Times that the shared limiter lost memory of charges.", ("reason",)),),
        level="warning",
    ),
    "credential_refreshed": Event(counts=(Count("credentials_refreshed", "Tokens that were renewed."),)),
    "credential_not_refreshed": Event(
        counts=(Count("credentials_not_refreshed", "Renewals of tokens that failed.", ("label",)),),
        level="warning",
        sampled=Sampled(by=("tenantId", "credentialId", "label")),
    ),
    "credential_needs_reauth": Event(
        counts=(Count("credentials_needing_reauth", "Credentials that a person must renew."),), level="warning"
    ),
    "webhook_not_stored": Event(
        counts=(Count("webhook_not_stored", "Authentic webhook events that were answered 503.", ("reason",)),),
        level="warning",
        sampled=Sampled(by=("reason",)),
        function="WebhookReceiver",
    ),
    "webhook_spooled": Event(
        counts=(
            Count(
                "webhooks_spooled",
                "Webhook events that went to the spool, because the queue was away or others of theirs waited there.",
                ("reason",),
                unless="duplicate",
            ),
        ),
        lines="debug",
        function="WebhookReceiver",
    ),
    "spool_refused": Event(
        counts=(Count("spool_refused", "Webhook events that the spool did not take: full, or its disk.", ("reason",)),),
        level="warning",
        sampled=Sampled(by=("reason",)),
        function="WebhookReceiver",
    ),
    "spool_handed_over": Event(
        counts=(Count("spool_handed_over", "Events that went from the spool into the queue.", amount="messages"),),
        lines="debug",
    ),
    "spool_not_drained": Event(
        counts=(Count("spool_not_drained", "Tries to drain the spool that failed.", ("label",)),),
        level="warning",
        sampled=Sampled(by=("label",), every=60.0),
    ),
    "spool_set_aside": Event(
        counts=(Count("spool_set_aside", "Events in the spool that the queue refuses for what they are."),),
        level="error",
    ),
    "spool_drained": Event(sampled=Sampled(by=())),
    "spool_found": Event(),
    "spool_off": Event(level="warning"),
    "webhook_breaker_opened": Event(
        counts=(Count("webhook_breaker_opened", "Times that the queue was left alone because it failed."),),
        level="warning",
        function="WebhookReceiver",
    ),
    "webhook_breaker_closed": Event(
        counts=(Count("webhook_breaker_closed", "Times that it was found to take events again."),),
        function="WebhookReceiver",
    ),
    # Units of work and ticks
    "unit_done": Event(lines="canonical", operations=True),
    "message_parked": Event(
        counts=(Count("messages_parked", "Messages set aside.", ("queue", "bin")),), level="warning"
    ),
    "handler_bug": Event(
        counts=(Count("handler_bugs", "Unexpected exceptions of handlers.", ("kind",)),), level="error"
    ),
    "lease_lost": Event(
        counts=(Count("leases_lost", "Outcomes that came after their lease.", ("queue",)),), level="warning"
    ),
    "job_started": Event(counts=(Count("job_runs", "Runs of jobs that began.", ("job",)),), lines="debug"),
    "job_ended": Event(lines="canonical", operations=True),
    "job_late": Event(
        measures=(
            Measure("job_late_seconds", "How late runs began.", ("job",), fact="seconds", scale=1.0, bounds=SECONDS),
        ),
        lines="debug",
    ),
    "job_missed": Event(
        counts=(Count("job_missed", "Runs whose time passed while nothing ran.", ("job",), amount="count"),),
        level="warning",
    ),
    "job_skipped": Event(
        counts=(Count("job_skipped", "Runs whose time passed during an earlier one.", ("job",), amount="count"),),
        level="warning",
    ),
    "job_lease_lost": Event(
        counts=(Count("job_leases_lost", "Runs whose outcome came after their lease.", ("job",)),), level="warning"
    ),
    "job_not_claimed": Event(level="warning"),
    "job_pass_failed": Event(
        counts=(Count("job_pass_failed", "Looks at a job that failed.", ("job",)),), level="error"
    ),
    "job_adopted": Event(),
    "job_asked": Event(),
    "job_paused": Event(),
    "job_resumed": Event(),
    "execution_not_recorded": Event(level="warning"),
    "purged_message_dropped": Event(
        counts=(Count("purged_messages", "Messages of purged tenants that ended unworked.", ("kind",)),), lines="debug"
    ),
    "duty_failed": Event(
        counts=(Count("duties_failed", "Parts of maintenance that failed.", ("duty",)),), level="warning"
    ),
    "duty_done": Event(
        counts=(Count("duty_items", "What maintenance put right or cleared away.", ("duty",), amount="count"),),
        lines="debug",
    ),
    "cost_trigger_unknown": Event(level="warning", function="finops-daily-sync"),
    "cost_trigger_again": Event(function="finops-daily-sync"),
    "replay_failed": Event(level="warning"),
    "tasks_scheduled": Event(
        counts=(Count("tasks_scheduled", "Sync tasks put into the queue.", amount="count"),),
        lines="canonical",
        function="SyncScheduler",
    ),
    "tasks_revived": Event(
        counts=(
            Count("tasks_revived", "Sync tasks of which nothing was heard and that were sent again.", amount="count"),
        ),
        level="warning",
        function="SyncScheduler",
    ),
    "task_finished": Event(
        counts=(Count("tasks_finished", "Generations of sync tasks that ended.", ("mode", "status")),),
        measures=(
            Measure("task_duration_ms", "Generations of sync tasks, all their slices, milliseconds.", ("mode",)),
        ),
    ),
    "pull_held": Event(
        counts=(Count("pulls_held", "Pulls stopped by the delete guard.", ("entity_type",)),), level="warning"
    ),
    "push_done": Event(
        counts=(Count("pushes", "Pushes that a provider has taken.", ("operation",)),),
        measures=(Measure("push_duration_ms", "Provider's time of a push, milliseconds.", ("operation",)),),
        lines="canonical",
    ),
    "push_failed": Event(
        counts=(Count("pushes_failed", "Pushes that a provider has not taken.", ("operation", "error", "outcome")),),
        level="warning",
    ),
    "push_skipped": Event(
        counts=(Count("pushes_skipped", "Debts that cannot be pushed (any more).", ("reason",)),), lines="debug"
    ),
    "push_lease_lost": Event(
        counts=(Count("push_leases_lost", "Pushes whose lease another took before they were recorded."),),
        level="warning",
    ),
    "entity_twin": Event(
        counts=(Count("entity_twins", "Objects of our own that were taken for new ones first."),), level="warning"
    ),
    "task_gone": Event(counts=(Count("tasks_gone", "Messages whose task was deleted."),), level="warning"),
    "task_message_idle": Event(lines="debug"),
    "ratelimit_wait": Event(
        measures=(
            Measure("ratelimit_wait_seconds", "Waits that limits imposed.", fact="seconds", scale=1.0, bounds=SECONDS),
        ),
        lines="never",
    ),
    # Azure Service Bus
    "broker_unreachable": Event(
        counts=(Count("broker_failures", "Connections to the message broker that were lost or refused.", ("entity",)),),
        level="warning",
        sampled=Sampled(by=("entity",)),
    ),
    "broker_busy": Event(
        counts=(Count("broker_busy", "Times that the message broker asked for patience.", ("entity",)),),
        level="warning",
        sampled=Sampled(by=("entity",)),
    ),
    "broker_back": Event(sampled=Sampled(by=("entity",))),
    "lock_lost": Event(
        counts=(Count("locks_lost", "Messages whose lock ended while they were worked on.", ("entity",)),),
        level="warning",
        sampled=Sampled(by=("entity",)),
    ),
    "clock_skewed": Event(
        counts=(Count("clock_skewed", "Times that consuming stopped: our clock is off the broker's.", ("queue",)),),
        level="error",
    ),
    "lane_absent": Event(lines="debug"),
    "receiver_recycled": Event(lines="debug"),
    # The process
    "reload_ok": Event(counts=(Count("config_reloads", "Configurations taken up."),)),
    "reload_failed": Event(
        counts=(Count("config_reload_failures", "Configurations that were refused."),), level="error"
    ),
    "overlay_left_out": Event(level="error"),
    "vault_awaited": Event(level="warning"),
    # The Azure backend
    "azure_token": Event(
        counts=(Count("azure_tokens", "Tokens of our own identity that were asked for.", ("identity", "outcome")),),
        lines="debug",
    ),
    "vault_call": Event(
        counts=(Count("vault_calls", "Calls to Key Vault, by how they ended.", ("operation", "outcome")),),
        measures=(Measure("vault_call_duration_ms", "Calls to Key Vault, milliseconds.", ("operation",)),),
        lines="debug",
    ),
    "vault_purge_refused": Event(level="warning"),
    "blob_call": Event(
        counts=(Count("blob_calls", "Calls to Blob Storage, by how they ended.", ("operation", "outcome")),),
        measures=(Measure("blob_call_duration_ms", "Calls to Blob Storage, milliseconds.", ("operation",)),),
        lines="debug",
    ),
    "container_call": Event(
        counts=(
            Count("container_calls", "Calls to Container Instances, by how they ended.", ("operation", "outcome")),
        ),
        measures=(
            Measure("container_call_duration_ms", "Calls to Container Instances, milliseconds.", ("operation",)),
        ),
        lines="debug",
    ),
    "engine_commit": Event(
        counts=(
            Count("engine_commits", "Transactions of the embedded store."),
            Count("engine_operations", "Writes of the embedded store.", amount="operations"),
        ),
        measures=(Measure("engine_commit_duration_ms", "Commits of the embedded store, fsync included."),),
        lines="never",
    ),
    "cosmos_request": Event(
        counts=(
            Count(
                "cosmos_requests",
                "Operations on Cosmos DB, by status; 0 where there was no answer.",
                ("operation", "status"),
            ),
            Count(
                "cosmos_request_units",
                "Request units that Cosmos DB charged.",
                ("operation", "collection"),
                amount="units",
            ),
        ),
        measures=(Measure("cosmos_request_duration_ms", "Operations on Cosmos DB, milliseconds.", ("operation",)),),
        lines="never",
    ),
    "loop_lag": Event(
        measures=(Measure("event_loop_lag_ms", "How late the event loop ran a timer.", fact="seconds"),), lines="never"
    ),
    "service_failed": Event(
        counts=(Count("service_failures", "Restarts of supervised services.", ("service",)),), level="error"
    ),
    "service_given_up": Event(level="error"),
    "clock_stepped_back": Event(
        counts=(Count("clock_stepped_back", "Times that the wall clock was set back."),), level="warning"
    ),
    "watchdog_withheld": Event(level="error"),
    "ready": Event(),
    "stop_requested": Event(),
    "stopped": Event(),
    "stopped_at_once": Event(level="warning"),
    "hard_limit": Event(
        counts=(Count("hard_limits", "Units cancelled at their hard limit.", ("queue",)),), level="error"
    ),
    "unit_abandoned": Event(
        counts=(Count("units_abandoned", "Units that swallowed their cancellation.", ("queue",)),), level="error"
    ),
    "outcome_not_recorded": Event(
        counts=(
            Count("outcomes_not_recorded", "Units that will run again: their outcome was not stored.", ("queue",)),
        ),
        level="error",
    ),
    "lease_refused": Event(
        counts=(Count("leases_refused", "Leases that the queue did not give for now.", ("queue",)),), level="warning"
    ),
    "depth_unknown": Event(level="warning"),
    "gauge_failed": Event(level="warning"),
    "notify_failed": Event(level="warning"),
}
