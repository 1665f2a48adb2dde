"""`[http]`: the listener, who may use the admin API, and what outgoing calls may reach."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from syncd.settings.sections.section import Section
from syncd.settings.values import Duration, Form, NotAllowed, SecretText, Size, Text, Whole, listed, required, setting

TokenRole = Literal["read", "operate"]
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")


def http_url(value: str) -> str:
    """The text, if it is an http(s) URL with a host and without credentials. Raises NotAllowed."""
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise NotAllowed(f"it is not a URL ({error})") from None
    if url.scheme not in {"http", "https"} or not host or re.search(r"\s", value):
        raise NotAllowed("it is not an http or https URL")
    if url.username is not None or url.password is not None:
        raise NotAllowed("it carries a user name or password: those belong in a secret")
    return value


def is_loopback(host: str) -> bool:
    """`localhost`, 127.0.0.0/8 and ::1; a name that would have to be looked up is not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        if "/" in value or re.fullmatch(r"[\d.]+|.*:.*", value) or not _HOST.fullmatch(value):
            raise NotAllowed(f"{value!r} is neither a network, an address nor a host name") from None
        return value.lower()
    if network.is_link_local or network.prefixlen == 0:
        raise NotAllowed(f"{value!r} would open link-local or all addresses, which are never allowed")
    return str(network)


Url = Annotated[Text, AfterValidator(http_url), Form("a URL beginning with https:// or http://")]
Reach = Annotated[Text, AfterValidator(_network)]


class HttpToken(Section):
    """One `[[http.tokens]]`."""

    name: Text = required("Who it is: written into the audit of every change.")
    role: TokenRole = setting("read", "read, or operate to change things as well.")
    tenants: Annotated[tuple[Text, ...], BeforeValidator(listed), Form("a list of tenant ids; empty: all")] = setting(
        (), "Tenants that it may see. Empty: all."
    )
    value: SecretText = required("The token itself, or a reference to it.")


class HttpSettings(Section):
    host: Text = setting(
        "127.0.0.1",
        "Address to listen on. Loopback by default; beyond it only with admin_token or tokens.",
        restart=True,
    )
    port: Whole = setting(8080, "Port to listen on; 0 takes a free one and logs it.", least=0, most=65535, restart=True)
    public_url: Url | None = setting(
        None,
        "The address under which providers reach this daemon, for OAuth redirects and webhook addresses that are shown. Left "
        "out: made from host and port.",
    )
    admin_token: SecretText | None = setting(
        None,
        "Bearer token that may do everything for all tenants. Left out on loopback: one is made at first start, kept with mode "
        "0600 in the data directory, and the log says where.",
    )
    tokens: Annotated[
        tuple[HttpToken, ...], BeforeValidator(listed), Form("a list of tables {name, role, tenants, value}")
    ] = setting((), "Further bearer tokens, with a role and the tenants that they may see: [[http.tokens]].")
    outgoing_allow: Annotated[
        tuple[Reach, ...], BeforeValidator(listed), Form("a list of networks (10.1.0.0/16), addresses or host names")
    ] = setting(
        (),
        "Private destinations that outgoing calls may reach. Link-local and metadata addresses are refused whatever is written "
        "here; loopback is allowed on the embedded default.",
    )
    outgoing_timeout: Duration = setting(
        30.0,
        "Whole time of one outgoing call unless the caller says otherwise. Leases around calls are computed from it.",
        unit="s",
        least=0.1,
        most=3600,
    )
    max_body_bytes: Size = setting(
        1024 * 1024, "Largest body of the admin API; webhooks have their own.", unit="bytes", least=1024, most=2**30
    )
    max_header_bytes: Size = setting(
        16 * 1024, "Largest request line or header field.", unit="bytes", least=1024, most=2**20, restart=True
    )
    header_timeout: Duration = setting(
        10.0,
        "How long a client may take to send its headers: a slow one must not hold a connection for ever.",
        unit="s",
        least=0.1,
        most=600,
        restart=True,
    )
    body_timeout: Duration = setting(
        30.0, "How long a client may take to send its body.", unit="s", least=0.1, most=3600
    )
    keepalive_timeout: Duration = setting(
        75.0,
        "How long an idle connection stays open. Above the 60 s of common load balancers, which must be first to close.",
        unit="s",
        most=3600,
        restart=True,
    )
    max_connections: Whole = setting(
        1000, "Connections open at once; more wait in the listen queue.", least=1, most=100_000, restart=True
    )
    login_failures: Whole = setting(
        10, "Wrong tokens per minute and address before 429 is answered.", unit="per minute", least=1, most=10_000
    )
