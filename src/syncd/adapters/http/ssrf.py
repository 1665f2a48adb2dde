"""Where outgoing requests may go: one policy for every caller, over URLs and over resolved addresses. Pure.

    always refused   link-local and metadata addresses, multicast, unspecified, broadcast: no setting opens them
    loopback         only where the deployment says so, or where listed
    private          only where listed in `http.outgoing_allow`: networks, addresses or host names
    all else         allowed

A name is judged by the addresses it resolves to, and the connection is made to exactly those, so that an answer of DNS that
changes between the check and the connection changes nothing. An IPv4 address inside an IPv6 one (mapped, compatible, NAT64, 6to4,
Teredo) is judged as well. Spellings of IPv4 other than four decimal numbers are refused in a URL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NoReturn

from yarl import URL

from syncd.domain.errors import Invalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Cloud metadata and platform services outside 169.254/16, whose answers hold credentials: Azure's wire server, Alibaba, Oracle,
#: and Amazon's over IPv6. https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
_METADATA = frozenset(
    map(ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
_NEVER = tuple(
    map(
        ip_network,
        ("169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "255.255.255.255/32", "224.0.0.0/4", "::/128", "ff00::/8"),
    )
)
#: Origins whose judgement is remembered.
_MOST_PASSED = 10_000
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_COMPATIBLE = IPv6Network("::/96")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses that an IPv6 address leads to."""
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return (low,)
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingPolicy:
    """`allowed_networks` and `allowed_hosts` open private and loopback addresses; `loopback` opens loopback altogether."""

    loopback: bool = False
    allowed_networks: tuple[Network, ...] = ()
    allowed_hosts: frozenset[str] = frozenset()
    _passed: set[tuple[str, str, bool]] = field(default_factory=set, init=False, repr=False, compare=False)
    """Scheme, authority and secrecy of URLs that were allowed: nothing else of a URL is judged."""

    @classmethod
    def of(cls, allow: Sequence[str] = (), *, loopback: bool = False) -> OutgoingPolicy:
        """From the entries of `http.outgoing_allow`: `10.0.0.0/8`, `192.168.1.5`, `crm.internal`. Raises Invalid."""
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in allow:
            try:
                networks.append(ip_network(entry.strip("[] "), strict=False))
            except ValueError:
                name = entry.strip().rstrip(".").lower()
                if not name or "/" in name or ":" in name or "*" in name or name.replace(".", "").isdigit():
                    rule = "a network (10.0.0.0/8), an address, or a whole host name"
                    raise Invalid(
                        f"outgoing_allow: {entry!r} is none of: {rule}", errors={"outgoing_allow": rule}
                    ) from None
                hosts.add(name)
        return cls(loopback=loopback, allowed_networks=tuple(networks), allowed_hosts=frozenset(hosts))

    def refusal(self, address: Address, host: str) -> str | None:
        """Why `address`, found under the name `host`, must not be connected to; None where it may."""
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return f"{address} is link-local"
            for inner in _embedded(address):
                reason = self.refusal(inner, host)
                if reason:
                    return f"{address} leads to {reason}"
            if address.ipv4_mapped:
                return None
        if address in _METADATA or any(address in network for network in _NEVER):
            return f"{address} is a link-local, metadata or otherwise unusable address, which is never allowed"
        if host in self.allowed_hosts or any(address in network for network in self.allowed_networks):
            return None
        if address.is_loopback:
            return None if self.loopback else f"{address} is loopback, which is not in http.outgoing_allow"
        if not address.is_global:
            return f"{address} is a private address, which is not in http.outgoing_allow"
        return None

    def check_url(self, url: URL, *, secret: bool = False) -> None:
        """Raises Invalid where the URL itself is not allowed; names are judged again when they have been resolved.

        With `secret`, plain `http://` is refused unless the host is loopback.
        """
        judged = (url.scheme, url.raw_authority, secret)
        if judged in self._passed:
            return
        if url.scheme not in ("http", "https"):
            _refuse("it must begin with https:// (or http://)")
        if url.raw_user is not None or url.raw_password is not None:
            _refuse("a user name or password inside a URL is not allowed: it would be written to logs")
        host = host_of(url)
        if not host:
            _refuse("it names no host")
        literal = literal_address(host)
        if literal is None and not _NAME.fullmatch(host):
            _refuse(f"{host!r} is not a host name")
        if literal is not None:
            reason = self.refusal(literal, host)
            if reason:
                _refuse(reason)
        if secret and url.scheme == "http" and not is_loopback_host(host):
            _refuse(f"http:// to {host} would send a secret in clear text: use https://")
        if len(self._passed) >= _MOST_PASSED:
            self._passed.clear()
        self._passed.add(judged)


def host_of(url: URL) -> str:
    """The host as it is connected to: lower case, no final dot."""
    return (url.raw_host or "").lower().rstrip(".")


def is_loopback_host(host: str) -> bool:
    """`localhost`, a name under it, or a loopback address. The resolver lets such names lead to loopback only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def literal_address(host: str) -> Address | None:
    """The address that `host` spells; None for a name. Raises Invalid for decimal, octal and shortened spellings."""
    try:
        return ip_address(host)
    except ValueError:
        if ":" in host or host.replace(".", "").isdigit():
            _refuse(f"{host} is not an address in its usual form (IPv4: four decimal numbers without leading zeros)")
        return None


def _refuse(reason: str) -> NoReturn:
    raise Invalid(f"this URL is not allowed: {reason}", errors={"url": reason})
