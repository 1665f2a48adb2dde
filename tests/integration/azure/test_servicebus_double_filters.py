"""SQL filters of the Service Bus double, by table. Source: MicrosoftDocs, service-bus-messaging-sql-filter."""

from __future__ import annotations

import proton
import pytest

from tests.wire.servicebus import message as wire
from tests.wire.servicebus.sqlfilter import Filter, InvalidFilter


def encoded(properties: dict[str, object], **fields: str) -> wire.Message:
    return wire.parse(proton.Message(body=b"x", properties=properties, **fields).encode())


SAMPLE = encoded(
    {"file_size_mb": 50, "share": 0.5, "kind": "report", "urgent": True, "text_number": "50", "quote": "it's"},
    id="m1",
    subject="invoice",
    correlation_id="c-7",
    group_id="tenant-1",
)


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("1=1", True),
        ("1 = 0", False),
        ("file_size_mb > 10 AND file_size_mb <= 100", True),
        ("file_size_mb > 50 AND file_size_mb <= 100", False),
        ("file_size_mb >= 50 and FILE_SIZE_MB is null", True),
        ("file_size_mb = 50.0", True),
        ("file_size_mb <> 50", False),
        ("file_size_mb != 51", True),
        ("file_size_mb / 2 + 1 = 26", True),
        ("-file_size_mb < 0", True),
        ("file_size_mb % 7 = 1", True),
        ("text_number > 10", False),
        ("NOT (text_number > 10)", False),
        ("kind IN ('report', 'sync')", True),
        ("kind NOT IN ('sync')", True),
        ("nothing IN ('sync')", False),
        ("nothing NOT IN ('sync')", False),
        ("nothing IS NULL", True),
        ("kind IS NOT NULL", True),
        ("nothing > 1 OR kind = 'report'", True),
        ("nothing > 1 AND kind = 'report'", False),
        ("NOT nothing > 1", False),
        ("kind = 'Report'", False),
        ("kind LIKE 're%'", True),
        ("kind LIKE '_eport'", True),
        ("kind NOT LIKE '%x%'", True),
        ("'50%' LIKE '50!%' ESCAPE '!'", True),
        ("quote = 'it''s'", True),
        ("urgent = TRUE", True),
        ("urgent", True),
        ("share > 0.25 AND share < 1", True),
        ("user.kind = 'report'", True),
        ("[kind] = 'report' AND \"file_size_mb\" = 50", True),
        ("sys.Label = 'invoice' AND sys.MessageId = 'm1'", True),
        ("sys.CorrelationId LIKE 'c-%' AND sys.SessionId = 'tenant-1'", True),
        ("sys.ReplyTo IS NULL", True),
        ("EXISTS(kind) AND NOT EXISTS(nothing)", True),
        ("(kind = 'sync' OR urgent) AND file_size_mb > 10", True),
    ],
)
def test_a_rule_matches_what_is_true_and_nothing_unknown(rule: str, matches: bool) -> None:
    assert Filter(rule).matches(SAMPLE) is matches


@pytest.mark.parametrize(
    "rule",
    ["", "file_size_mb >", "= 1", "a = 1 b", "a IN ()", "a IN (1", "sys.Nothing = 1", "a = #", "x.y = 1", "a NOT 1"],
)
def test_a_text_that_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(InvalidFilter):
        Filter(rule)
