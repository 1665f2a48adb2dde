"""`[webhooks]`: incoming events."""

from __future__ import annotations

from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, Size, Whole, setting


class WebhookSettings(Section):
    max_body_bytes: Size = setting(
        1024 * 1024, "Largest body; larger ones are answered 413.", unit="bytes", least=1024, most=25 * 1024 * 1024
    )
    large_body_bytes: Size = setting(
        25 * 1024 * 1024,
        "Largest body for schemes whose provider sends that much (GitHub's limit).",
        unit="bytes",
        least=1024,
        most=100 * 1024 * 1024,
    )
    dedupe_window: Duration = setting(
        7 * 86400.0,
        "How long a delivery id is remembered. Providers redeliver for days.",
        unit="s",
        least=60,
        most=90 * 86400,
    )
    body_dedupe_window: Duration = setting(
        60.0,
        "How long an equal body counts as the same event where the scheme has neither delivery id nor signed time. Short, "
        "because two equal events may both be meant.",
        unit="s",
        most=86400,
    )
    enqueue_timeout: Duration = setting(
        1.5,
        "How long the queue may take before the event goes to the spool, whose disk may take as long again, or is answered 503. "
        "GitHub gives up after 10 s, Slack after 3 s.",
        unit="s",
        least=0.05,
        most=30,
    )
    spool_max_bytes: Size = setting(
        1024 * 1024 * 1024,
        "How much the spool holds while the queue is away; beyond it events are answered 503. About 500,000 events of 1 KB: "
        "eight minutes at 1,000 a second. It exists only where the queue is another machine and daemon.data_dir_durable is true.",
        unit="bytes",
        least=1024 * 1024,
        restart=True,
    )
    timestamp_tolerance: Duration = setting(
        300.0, "How far a signed time may be from ours. The usual five minutes.", unit="s", least=1, most=86400
    )
    rate: Whole | None = setting(
        None,
        "Events per minute and registration before 429 is answered. Left out: no limit.",
        unit="per minute",
        least=1,
    )
    rejected_sample: Whole = setting(
        10,
        "One in so many rejected requests gets an audit row; all are counted. A flood of forgeries must not fill the disk.",
        least=1,
    )
