"""The policy for outgoing requests, as tables of what an attacker writes into a URL or a DNS zone."""

from __future__ import annotations

import inspect
from ipaddress import IPv4Address, IPv6Address, ip_address

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from syncd.adapters.http.errormap import ERRORS, mapped
from syncd.adapters.http.ssrf import OutgoingPolicy
from syncd.domain.errors import Invalid, ServerFault, SyncdError, TimedOut, Unavailable

WIDE_OPEN = OutgoingPolicy.of(["0.0.0.0/0", "::/0", "evil.example"], loopback=True)
CLOSED = OutgoingPolicy.of()
LOCAL = OutgoingPolicy.of(loopback=True)
LISTED = OutgoingPolicy.of(["10.1.0.0/16", "192.168.1.5", "crm.internal", "fd12::/16"])

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "0.0.0.0",
    "0.1.2.3",
    "255.255.255.255",
    "224.0.0.1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "fc00::1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
]
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
PUBLIC = ["93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", NEVER)
def test_link_local_and_metadata_addresses_are_refused_whatever_is_listed(address: str) -> None:
    assert WIDE_OPEN.refusal(ip_address(address), "evil.example")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_unless_listed(address: str) -> None:
    assert CLOSED.refusal(ip_address(address), "x.example")
    assert LOCAL.refusal(ip_address(address), "x.example")
    assert WIDE_OPEN.refusal(ip_address(address), "x.example") is None


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_open_only_where_the_deployment_says_so(address: str) -> None:
    assert CLOSED.refusal(ip_address(address), "localhost")
    assert LOCAL.refusal(ip_address(address), "localhost") is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert CLOSED.refusal(ip_address(address), "x.example") is None


def test_listed_networks_addresses_and_names_are_allowed_and_nothing_beside_them() -> None:
    assert LISTED.refusal(ip_address("10.1.2.3"), "x") is None
    assert LISTED.refusal(ip_address("10.2.2.3"), "x")
    assert LISTED.refusal(ip_address("192.168.1.5"), "x") is None
    assert LISTED.refusal(ip_address("192.168.1.6"), "x")
    assert LISTED.refusal(ip_address("172.16.0.9"), "crm.internal") is None
    assert LISTED.refusal(ip_address("172.16.0.9"), "crm.internal.evil.example")
    assert LISTED.refusal(ip_address("fd12::9"), "x") is None


@pytest.mark.parametrize("entry", ["*", "*.internal", "10.0.0.0/40", "", "http://x/", "10.1", "host:80"])
def test_an_entry_that_is_no_network_address_or_name_is_refused(entry: str) -> None:
    with pytest.raises(Invalid, match="outgoing_allow"):
        OutgoingPolicy.of([entry])


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("//example.com/", "https://"),
        ("https://user@example.com/", "user name"),
        ("https://user:pw@example.com/", "user name"),
        ("https://:pw@example.com/", "user name"),
        ("https:///path", "host"),
        ("https://169.254.169.254/latest/", "never"),
        ("https://[::ffff:169.254.169.254]/", "never"),
        ("https://[fd00:ec2::254]/", "never"),
        ("https://2130706433/", "usual form"),
        ("https://0177.0.0.1/", "usual form"),
        ("https://127.1/", "usual form"),
        ("https://10.0.0.1./", "private"),
        ("https://10.0.0.1/", "private"),
        ("https://127.0.0.1/", "loopback"),
        ("https://１２７.０.０.１/", "loopback"),
    ],
)
def test_a_url_that_must_not_be_called_is_refused_with_the_reason(url: str, word: str) -> None:
    with pytest.raises(Invalid, match=word):
        CLOSED.check_url(URL(url))


@pytest.mark.parametrize("url", ["https://example.com/x", "http://example.com:8080/", "https://[2606:4700::1111]/"])
def test_an_ordinary_url_is_allowed(url: str) -> None:
    CLOSED.check_url(URL(url))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/", "http://localhost/", "http://[::1]:1/", "https://example.com/"]
)
def test_secrets_go_over_tls_or_to_loopback(url: str) -> None:
    LOCAL.check_url(URL(url), secret=True)


@pytest.mark.parametrize("url", ["http://example.com/", "http://localhost.example.com/", "http://93.184.216.34/"])
def test_secrets_never_go_over_plain_http_to_another_machine(url: str) -> None:
    LOCAL.check_url(URL(url))
    with pytest.raises(Invalid, match="clear text"):
        LOCAL.check_url(URL(url), secret=True)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_inside_an_ipv6_one(address: IPv4Address) -> None:
    for policy in (CLOSED, LOCAL, LISTED):
        plain = policy.refusal(address, "x") is None
        for prefix in (0xFFFF << 32, 0x0064FF9B << 96):
            inside = policy.refusal(IPv6Address(prefix | int(address)), "x") is None
            assert inside == plain


def library_errors() -> list[type[BaseException]]:
    return [
        error
        for _, error in inspect.getmembers(aiohttp.client_exceptions, inspect.isclass)
        if issubclass(error, Exception) and error.__module__ == "aiohttp.client_exceptions"
    ]


def test_the_error_map_covers_every_exception_of_the_library() -> None:
    errors = [error for error in library_errors() if not issubclass(error, TypeError)]  # WebSocket messages: not used
    assert len(errors) > 20
    for error in errors:
        assert any(issubclass(error, theirs) for theirs, _ in ERRORS), error


def test_a_class_is_listed_before_its_own_base_classes() -> None:
    for index, (theirs, _) in enumerate(ERRORS):
        for earlier, _ in ERRORS[:index]:
            assert not issubclass(theirs, earlier), f"{theirs} is hidden by {earlier}"


@pytest.mark.parametrize(
    ("error", "connected", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), True, ServerFault),
        (aiohttp.ServerDisconnectedError(), False, Unavailable),
        (aiohttp.ClientOSError(104, "reset"), True, ServerFault),
        (aiohttp.ClientConnectionResetError("x"), True, ServerFault),
        (aiohttp.ClientPayloadError("x"), True, ServerFault),
        (aiohttp.SocketTimeoutError(), True, TimedOut),
        (aiohttp.ConnectionTimeoutError(), True, Unavailable),
        (TimeoutError(), True, TimedOut),
        (TimeoutError(), False, Unavailable),
        (aiohttp.ServerFingerprintMismatch(b"a", b"b", "h", 1), True, Unavailable),
        (aiohttp.InvalidURL("x"), False, Invalid),
        (ConnectionResetError(), True, ServerFault),
    ],
)
def test_an_error_says_whether_the_request_may_have_been_processed(
    error: Exception, connected: bool, expected: type[SyncdError]
) -> None:
    assert type(mapped(error, connected=connected, target="GET x")) is expected


def test_our_own_errors_are_none_of_the_library_s() -> None:
    assert mapped(KeyError("x"), connected=True, target="GET x") is None
