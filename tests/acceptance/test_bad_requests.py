"""What strangers, broken senders and tired operators send to the real socket: a clear answer each, and the daemon stays well."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import pytest_asyncio

from syncd.domain.jsontypes import JsonObject
from tests.acceptance.process import Daemon, Registration, eventually, github_headers
from tests.acceptance.reading import event, metric, parked, readiness

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The registration's limit, small enough to be exceeded quickly. Bytes.
LIMIT = 64 * 1024
ISSUE = b'{"action":"opened","issue":{"id":1,"number":1,"title":"t"},"repository":{"id":7}}'


class Site:
    def __init__(self, daemon: Daemon, registration: Registration) -> None:
        self.daemon = daemon
        self.registration = registration

    def request(self, body: bytes, **replaced: str | None) -> bytes:
        """A signed delivery as it goes over the wire; header names with `_` for `-`, None takes one away."""
        signed = github_headers(body, secret=self.registration.secret, event="issues", delivery=f"d-{hash(body)}")
        headers: dict[str, str | None] = {
            "Host": "syncd",
            "Connection": "close",
            **signed,
            "Content-Length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in replaced.items()},
        }
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        start = f"POST /webhooks/{self.registration.id}/events HTTP/1.1"
        return "\r\n".join([start, *lines, "", ""]).encode() + body

    async def raw(self, data: bytes, *, half_close: bool = False, within: float = 60.0) -> tuple[int, str]:
        """Status and body of what comes back for these bytes; status 0 where the connection just ends."""
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.daemon.port)
            answering = asyncio.ensure_future(_read(reader))  # from the start: an answer may come while we still send
            try:
                writer.write(data)
                with suppress(ConnectionError):
                    await writer.drain()
                if half_close:
                    writer.write_eof()
                answer = await answering
            finally:
                answering.cancel()
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, backend: str) -> AsyncIterator[Site]:
    environment = {
        "SYNCD_WEBHOOKS__MAX_BODY_BYTES": str(LIMIT),
        "SYNCD_WEBHOOKS__LARGE_BODY_BYTES": str(LIMIT),
        "SYNCD_HTTP__MAX_BODY_BYTES": str(LIMIT),
        "SYNCD_HTTP__BODY_TIMEOUT": "4s",
        "SYNCD_HTTP__HEADER_TIMEOUT": "5s",
    }
    async with Daemon(tmp_path_factory.mktemp("bad") / "data", environment=environment) as daemon:
        yield Site(daemon, await daemon.register_github())


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def well_afterwards(site: Site) -> AsyncIterator[None]:
    pid = site.daemon.pid
    yield
    assert site.daemon.running
    assert site.daemon.pid == pid

    async def well() -> bool:
        shown = await readiness(site.daemon)
        return shown["status"] == "ready" and {part["status"] for part in shown["components"]} == {"ok"}

    await eventually(
        well, what="a daemon that is well"
    )  # a loop that was late for a second says so until its next beat
    delivered = await site.daemon.post_webhook(site.registration, ISSUE)
    assert delivered.ok()["status"] == "accepted", "and the next sender is served"
    await site.daemon.drained("sync-outbound")
    assert "Traceback" not in site.daemon.log


async def _read(reader: asyncio.StreamReader) -> bytes:
    """All until the connection ends, in whatever way."""
    found = b""
    with suppress(ConnectionError):
        while piece := await reader.read(64 * 1024):
            found += piece
    return found


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


REFUSED: dict[str, tuple[Callable[[Site], bytes], int, str]] = {
    "wrong signature": (lambda site: site.request(ISSUE, X_Hub_Signature_256="sha256=" + "0" * 64), 401, "signature"),
    "signature of another body": (
        lambda site: site.request(ISSUE).replace(b'"title":"t"', b'"title":"u"'),
        401,
        "signature",
    ),
    "signature without its prefix": (lambda site: site.request(ISSUE, X_Hub_Signature_256="0" * 64), 401, "signature"),
    "no signature": (
        lambda site: site.request(ISSUE, X_Hub_Signature_256=None),
        401,
        "x-hub-signature-256",
    ),
    "too large by its own word": (
        lambda site: site.request(b"", Content_Length=str(LIMIT + 1)),
        413,
        f"larger than {LIMIT} bytes",
    ),
    "too large without a word": (
        lambda site: (
            site.request(b"", Content_Length=None, Transfer_Encoding="chunked")
            + chunked(b"x" * (LIMIT + 1))
            + b"0\r\n\r\n"
        ),
        413,
        f"larger than {LIMIT} bytes",
    ),
    "wrong content type": (lambda site: site.request(ISSUE, Content_Type="image/png"), 415, "JSON"),
    "compressed": (lambda site: site.request(ISSUE, Content_Encoding="gzip"), 415, "compressed"),
    "unknown registration": (
        lambda site: site.request(ISSUE).replace(b"/reg-github/", b"/reg-nobody/"),
        404,
        "reg-nobody",
    ),
    "registration with a strange name": (
        lambda site: site.request(ISSUE).replace(b"/reg-github/", b"/..%2f..%2fetc%2fpasswd/"),
        404,
        "",
    ),
    "10 MB header": (lambda site: site.request(ISSUE, X_Large="x" * 10_000_000), 400, "not a request"),
    "not HTTP": (lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "not a request"),
    "two lengths": (
        lambda site: site.request(ISSUE, Transfer_Encoding="chunked"),
        400,
        "not a request",
    ),
    "negative length": (lambda site: site.request(ISSUE, Content_Length="-5"), 400, "not a request"),
    "wrong method": (
        lambda _: b"PUT /webhooks/reg-github/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        405,
        "POST",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_with_its_status_and_its_reason(site: Site, name: str) -> None:
    make, status, words = REFUSED[name]
    before = await site.daemon.queue("sync-outbound")
    found, body = await site.raw(make(site))
    assert found == status, body
    told = json.loads(body)
    assert told["status"] == status
    assert words in told["detail"]
    assert site.registration.secret not in body
    assert (await site.daemon.queue("sync-outbound"))["ready"] == before["ready"] == 0


async def test_refusals_are_counted_with_their_reason(site: Site) -> None:
    await site.raw(site.request(ISSUE, X_Hub_Signature_256="sha256=" + "0" * 64))
    text = (await site.daemon.request("GET", "/metrics")).body.decode()
    assert 'webhook_rejected_total{reason="unauthorized"}' in text


async def test_a_body_that_ends_early_is_refused_and_not_taken_for_a_shorter_one(site: Site) -> None:
    status, _ = await site.raw(site.request(ISSUE, Content_Length=str(len(ISSUE) + 10)), half_close=True)
    assert status in (0, 400)
    assert (await site.daemon.queue("sync-outbound"))["ready"] == 0


async def test_a_client_that_does_not_finish_its_body_is_told_so_in_time(site: Site) -> None:
    status, body = await site.raw(site.request(ISSUE, Content_Length=str(len(ISSUE) + 10)))
    assert (status, json.loads(body)["detail"]) == (408, "the body was not complete after 4 s")


async def test_a_client_that_does_not_finish_its_headers_is_told_so_in_time(site: Site) -> None:
    status, body = await site.raw(b"POST /webhooks/reg-github/events HTTP/1.1\r\nHost: x\r\nX-Slow")
    assert (status, json.loads(body)["detail"]) == (408, "no complete request arrived in time")


async def test_two_hundred_slow_clients_do_not_keep_others_from_being_served(site: Site) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", site.daemon.port) for _ in range(200)]
    try:
        for _, writer in opened:
            writer.write(b"POST /webhooks/reg-github/events HTTP/1.1\r\n")
        told = asyncio.ensure_future(opened[-1][0].read(1))
        answer = await site.daemon.post_webhook(site.registration, ISSUE)
        assert answer.status == 200
        assert not told.done(), "others are served while the slow are waited for"
        told.cancel()
    finally:
        for _, writer in opened:
            writer.close()


#: Authentic, and not to be understood: accepted, kept byte for byte, parked with the reason.
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b'{"action":"opened","issue":{"title":"\xff\xfe"}}', "not UTF-8"),
    "a thousand levels": (b'{"a":' * 1000 + b"1" + b"}" * 1000, "nested deeper than 64 levels"),
    "sixty thousand brackets": (b"[" * 60_000, "nested deeper than 64 levels"),
    "duplicate keys": (b'{"action":"opened","action":"deleted","issue":{"id":1}}', "action"),
    "NaN": (b'{"action":"opened","issue":{"id":NaN}}', "NaN"),
    "infinity by its size": (b'{"action":"opened","issue":{"id":1e999}}', "1e999"),
    "no object": (b"[1,2,3]", "must be a JSON object; it is an array"),
    "cut off": (ISSUE[:-10], "not JSON"),
    "nothing": (b"", "empty"),
    "only blanks": (b"   \n", "empty"),
    "a NUL": (b'{"action":"opened","issue":{"id":1}}\x00', "not JSON"),
    "a lone surrogate": (b'{"action":"opened","issue":{"id":1,"title":"\\ud800"}}', "surrogate"),
    "no entity": (b'{"action":"opened"}', "holds no object"),
    "an id that is a list": (b'{"action":"opened","issue":{"id":[1],"title":"t"}}', "no id"),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_authentic_and_unreadable_is_kept_byte_for_byte_and_parked(site: Site, name: str) -> None:
    body, words = UNREADABLE[name]
    answer = (await site.daemon.post_webhook(site.registration, body)).ok()
    assert answer["status"] == "accepted"
    await site.daemon.drained("sync-outbound")
    row = await event(site.daemon, answer["eventId"])
    assert row["status"] == "parked", row
    assert words in row["reason"]
    raw = row["raw"]
    kept = base64.b64decode(raw) if row["rawEncoding"] == "base64" else raw.encode()
    assert kept == body
    [aside] = [one for one in await parked(site.daemon) if one["envelope"]["eventId"] == answer["eventId"]]
    assert (aside["bin"], aside["reason"]) == ("not_understood", row["reason"])


CONNECTION: JsonObject = {"id": "c-bad", "tenantId": "tenant-1", "integrationId": "github", "settings": {}}
TASK: JsonObject = {
    "integrationId": "github",
    "tenantId": "tenant-1",
    "connectionId": "conn-github",
    "syncMode": "pull",
}
WRONG: dict[str, tuple[str, JsonObject | bytes, int, str, str]] = {
    "unknown provider": ("/connections", {**CONNECTION, "integrationId": "gitlab"}, 400, "integrationId", "github"),
    "id with a slash": ("/connections", {**CONNECTION, "id": "../c"}, 400, "id", ""),
    "unknown field": ("/connections", {**CONNECTION, "tenant": "t"}, 400, "tenant", ""),
    "no tenant": ("/connections", {"id": "c", "integrationId": "github"}, 400, "tenantId", ""),
    "wrong direction": (
        "/connections",
        {**CONNECTION, "entities": {"issue": {"direction": "up"}}},
        400,
        "direction",
        "pull",
    ),
    "task of an unknown connection": ("/tasks", {**TASK, "connectionId": "nobody"}, 400, "connectionId", "nobody"),
    "task in an unknown mode": ("/tasks", {**TASK, "syncMode": "sideways"}, 400, "syncMode", "pull"),
    "task with a number for a name": ("/tasks", {**TASK, "tenantId": 7}, 400, "tenantId", ""),
    "unknown scheme": (
        "/webhooks",
        {"id": "r", "tenantId": "tenant-1", "integrationId": "github", "scheme": "trust-me"},
        400,
        "scheme",
        "github",
    ),
    "not JSON": ("/tasks", b"{", 400, "", "JSON"),
    "duplicate keys": ("/tasks", b'{"tenantId":"a","tenantId":"b"}', 400, "", "tenantId"),
    "a list": ("/tasks", b"[]", 400, "", "object"),
    "too large": ("/tasks", b'{"x":"' + b"x" * LIMIT + b'"}', 413, "", str(LIMIT)),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_request_to_the_api_is_told_which_field_and_what_is_allowed(site: Site, name: str) -> None:
    path, body, status, field, words = WRONG[name]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await site.daemon.request(
        "POST",
        f"/api/v1{path}",
        body=raw,
        headers={"Authorization": f"Bearer {site.daemon.token}", "Content-Type": "application/json"},
    )
    told = answer.json()
    assert answer.status == status, told
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert words in json.dumps(told)
    if field:
        assert any(field in one["field"] for one in told["errors"]), told


async def test_nothing_of_all_that_reached_the_store(site: Site) -> None:
    ids = [item["id"] for item in (await site.daemon.api("GET", "/connections")).ok()["items"]]
    assert ids == ["conn-github"]
    assert (await site.daemon.api("GET", "/tasks")).ok()["items"] == []
    assert [item["id"] for item in (await site.daemon.api("GET", "/webhooks")).ok()["items"]] == ["reg-github"]
    assert await metric(site.daemon, "http_failed") == 0
