from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from syncd.domain.secrets import Secret
from syncd.telemetry.log import Logs, correlated
from syncd.telemetry.observe import Telemetry
from syncd.telemetry.redaction import KnownSecrets, Redaction, sensitive

CANARY = 'cänary/"9f8e7d6c\\5b4a+x y'


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """The log of a process is global; each test gets it back as pytest had it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    structlog.reset_defaults()


def start(level: str = "info", *, json: bool | None = True) -> tuple[Logs, io.StringIO]:
    logs, stream = Logs(), io.StringIO()
    logs.configure(level=level, json=json, stream=stream)
    return logs, stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_logger_and_fields() -> None:
    _, stream = start()
    structlog.get_logger("syncd.http").info("ready", port=8080, note="two\nlines")
    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")  # type: ignore[attr-defined]  # a line is a dict of anything
    assert line == {"event": "ready", "level": "info", "logger": "syncd.http", "port": 8080, "note": "two\nlines"}


def test_the_standard_library_is_routed_the_same_way() -> None:
    _, stream = start()
    logging.getLogger("some.library").warning("%d of %s", 3, "seven", extra={"queue": "sync-inbound"})
    [line] = lines(stream)
    assert (line["event"], line["logger"], line["level"], line["queue"]) == (
        "3 of seven",
        "some.library",
        "warning",
        "sync-inbound",
    )


def test_an_exception_is_a_field_of_its_line_from_both_sides() -> None:
    _, stream = start()
    for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        try:
            raise KeyError("what")
        except KeyError:
            log.exception("failed")
    for line in lines(stream):
        assert "Traceback" in str(line["exception"])
        assert "KeyError: 'what'" in str(line["exception"])


def test_warnings_are_lines() -> None:
    _, stream = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    assert "old way" in str(lines(stream)[0]["event"])


def test_the_level_is_changed_while_running() -> None:
    logs, stream = start("warning")
    log = structlog.get_logger("x")
    log.info("one")
    logs.set_level("debug")
    log.debug("two")
    logs.set_level("error")
    log.warning("three")
    assert [line["event"] for line in lines(stream)] == ["two"]
    with pytest.raises(KeyError):
        logs.set_level("loud")


def test_talkative_libraries_are_heard_from_debug_on_only() -> None:
    logs, stream = start("info")
    access = logging.getLogger("aiohttp.access")
    access.info("GET /")
    logs.set_level("debug")
    access.info("GET /2")
    assert [line["event"] for line in lines(stream)] == ["GET /2"]


async def test_correlation_fields_follow_a_unit_into_the_tasks_it_starts_and_not_beyond() -> None:
    _, stream = start()
    log = structlog.get_logger("x")

    async def inner() -> None:
        log.info("inner")
        logging.getLogger("library").info("library")

    with correlated(correlationId="c-1", tenantId="t-1", function="SyncInboundWorker", connectionId=None):
        await asyncio.create_task(inner())
    log.info("after")
    found = lines(stream)
    for line in found[:2]:
        assert (line["correlationId"], line["tenantId"], line["function"]) == ("c-1", "t-1", "SyncInboundWorker")
        assert "connectionId" not in line
    assert "correlationId" not in found[2]
    with pytest.raises(ValueError, match="tenant_id"), correlated(tenant_id="t"):
        pass


def test_the_console_shows_text_from_outside_as_one_line_without_control_characters() -> None:
    _, stream = start(json=False)
    structlog.get_logger("x").info("received", body="a\x1b[2Jb\nfaked line\r")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b[2J" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_json_is_chosen_where_the_stream_is_no_terminal() -> None:
    _, stream = start(json=None)
    structlog.get_logger("x").info("ready")
    assert lines(stream)[0]["event"] == "ready"


def test_what_json_cannot_hold_is_written_all_the_same() -> None:
    _, stream = start()

    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError

    cyclic: list[object] = []
    cyclic.append(cyclic)
    structlog.get_logger("x").info(
        "odd",
        nan=float("nan"),
        raw=b"\xff",
        cyclic=cyclic,
        unshowable=Unshowable(),
        keys={1: 2, (3,): {4}},
        long="x" * 99_999,
    )
    [line] = lines(stream)
    assert line["nan"] == "nan"
    assert line["raw"] == "<1 bytes>"
    assert "cannot be shown" in str(line["unshowable"])
    assert len(str(line["long"])) < 20_000


# -- secrets ---------------------------------------------------------------------------------------------------------------


@dataclass
class Connection:
    url: str
    key: str


def everything_said(log: structlog.stdlib.BoundLogger, level: str) -> None:
    """The canary through every door there is."""
    say = getattr(log, level)
    say(f"in the event {CANARY}")
    say(
        "in a field",
        note=f"before {CANARY} after",
        note2=CANARY.encode(),
        deep={"a": [{"b": (CANARY, {CANARY: CANARY})}]},
    )
    say("in an object", thing=Connection(url=f"https://x/?q={quote(CANARY)}", key=CANARY), secret=Secret(CANARY))
    say("in a json text", body=json.dumps({"k": CANARY}), ascii=json.dumps({"k": CANARY}, ensure_ascii=True))
    say("in an error", error=ValueError(f"bad {CANARY}"), group=ExceptionGroup("all", [ValueError(CANARY)]))
    try:
        try:
            raise ValueError(f"first {CANARY}")
        except ValueError as error:
            error.add_note(f"note {CANARY}")
            raise RuntimeError(CANARY) from error
    except RuntimeError:
        say("in a traceback", exc_info=True)
    library = logging.getLogger("library")
    getattr(library, level)("of %s", CANARY)
    getattr(library, level)("of %r", {"k": CANARY}, extra={"canary": CANARY})


FORMS = (CANARY, quote(CANARY), json.dumps(CANARY)[1:-1], repr(CANARY)[1:-1], CANARY.encode().hex(), "9f8e7d6c")


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_known_secret_is_in_no_output_at_any_level(level: str, as_json: bool) -> None:
    logs, stream = start("debug", json=as_json)
    log = structlog.get_logger("x")
    everything_said(log, level)
    assert "9f8e7d6c" in stream.getvalue(), "the canary must be visible before it is known, or this test finds nothing"
    stream.truncate(0)
    stream.seek(0)
    logs.known_secrets.add(Secret(CANARY))
    everything_said(log, level)
    assert "in a traceback" in stream.getvalue()
    for form in FORMS:
        assert form not in stream.getvalue()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_what_is_under_a_telling_name_is_masked_at_every_depth_though_nobody_knows_it(level: str) -> None:
    _, stream = start("debug")
    log = structlog.get_logger("x")
    names = [
        "Authorization",
        "authorization",
        "X-Sync-Token",
        "access_token",
        "refreshToken",
        "clientSecret",
        "password",
        "X-Hub-Signature-256",
        "Set-Cookie",
        "connection_string",
        "connectionString",
        "ServiceBusConnectionString",
        "apiKey",
        "api_key",
        "API-KEY",
        "x-api-key",
        "SECRET_SYNC_TOKEN",
        "privateKey",
        "AccountKey",
        "sharedAccessKey",
        "credential",
    ]
    for name in names:
        getattr(log, level)(
            "one", **{name: "canary-1"}, deep=[{"headers": {name: ["canary-2"]}}], pairs=[(name, "canary-3")]
        )
        getattr(log, level)("raw", raw=[(name.encode(), b"canary")], event_=json.dumps({"x": 1}))
    assert len(lines(stream)) == 2 * len(names)
    assert "canary" not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer CANARY123456",
        "authorization=Basic CANARY123456==",
        "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=CANARY123456=;EntityPath=q",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=CANARY123456==;EndpointSuffix=core",
        "https://user:CANARY123456@host/path",
        "https://x.blob.core.windows.net/c?sv=1&sig=CANARY123456&se=2",
        "POST /token grant_type=refresh_token&refresh_token=CANARY123456&client_secret=CANARY123456",
        '{"access_token": "CANARY123456", "token_type": "bearer"}',
        "{'password': 'CANARY123456'}",
        "https://app/callback?code=CANARY123456&state=1",
    ],
)
def test_text_that_looks_like_it_holds_a_secret_loses_it(text: str) -> None:
    cleaned = Redaction(KnownSecrets()).text(text)
    assert "CANARY" not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "exit code: 1234 from child",
        "12 tokens refreshed",
        "queue sync-inbound: 5 ready",
        "https://host:8080/path?x=1",
        "status code=5040",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redaction(KnownSecrets()).text(text) == text


@pytest.mark.parametrize(
    "name", ["tenantId", "connectionId", "monkey", "path", "queue", "key", "tokens", "credential_id"]
)
def test_ordinary_names_are_left_alone(name: str) -> None:
    assert not sensitive(name)


def test_very_short_values_are_not_searched_for() -> None:
    known = KnownSecrets()
    known.add("ab", "", None)
    assert known.cleaned("cabin") == "cabin"


def test_each_line_of_a_secret_of_many_lines_is_masked() -> None:
    known = KnownSecrets()
    known.add("-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\n-----END KEY-----")
    assert known.cleaned("x MIIEvQIBADANBgkqh y") == "x *** y"


def test_many_secrets_that_begin_alike_are_all_found() -> None:
    known = KnownSecrets()
    known.add(*(f"secret number {number:06}" for number in range(20_000)), "secret numb", "another one")
    assert known.cleaned("x secret number 019999 y secret number z another one") == "x *** y ***er z ***"


plain = st.text(st.characters(exclude_characters="*"), max_size=20)


@given(st.text(st.characters(exclude_characters="*"), min_size=6, max_size=30), plain, plain)
def test_no_known_secret_survives_in_any_text(secret: str, before: str, after: str) -> None:
    known = KnownSecrets()
    known.add(secret)
    for form in (secret, quote(secret), json.dumps(secret)):
        assert not any(secret in part for part in known.cleaned(before + form + after).split("***"))


def test_observed_facts_come_out_masked_too() -> None:
    logs, stream = start("debug")
    logs.known_secrets.add(CANARY)
    telemetry = Telemetry(logger=structlog.get_logger("syncd"))
    telemetry.observe("service_failed", service="x", error=RuntimeError(f"refused {CANARY}"))
    telemetry.observe("never_heard_of", header=CANARY, token=Secret("x"))
    telemetry.observe("unit_done", queue="sync-inbound", outcome="park", reason=f"because {CANARY}", duration=1.0)
    assert len(lines(stream)) == 3
    assert "9f8e7d6c" not in stream.getvalue()
    assert b"9f8e7d6c" not in telemetry.render()


CRASH = """
import sys, threading
from syncd.telemetry.log import Logs
logs = Logs()
logs.configure(level="info")
logs.catch_uncaught()
logs.known_secrets.add("canary-9f8e7d6c")
class Finalizer:
    def __del__(self):
        raise ValueError("in a finalizer canary-9f8e7d6c")
Finalizer()
def fail():
    raise ValueError("in a thread canary-9f8e7d6c")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise RuntimeError("at the end canary-9f8e7d6c")
"""


def test_a_crash_of_the_process_says_why_and_shows_no_secret() -> None:
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "canary" not in done.stdout + done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == [
        "unraisable_exception",
        "uncaught_exception_in_thread",
        "uncaught_exception",
    ]
    assert [event["exception"].splitlines()[-1] for event in events] == [
        "ValueError: in a finalizer ***",
        "ValueError: in a thread ***",
        "RuntimeError: at the end ***",
    ]
