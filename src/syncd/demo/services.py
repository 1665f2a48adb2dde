"""The services that daemons of the tour share, where the environment names them: on this machine only, for the tour writes there."""

from __future__ import annotations

import re
from collections.abc import Mapping

from syncd.domain.errors import Invalid

#: What leads to each of them, under the names that deployments use.
_PLACES = (
    "COSMOS_ENDPOINT",
    "SERVICE_BUS_CONNECTION_STRING",
    "KEY_VAULT_URL",
    "REDIS_URL",
    "AZURE_STORAGE_CONNECTION_STRING",
)
#: What goes with that: keys, names, and how a double is to be taken.
_DETAILS = (
    "COSMOS_KEY",
    "COSMOS_DATABASE",
    "AZURE_STORAGE_CONTAINER_NAME",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "SYNCD_BACKEND__IDENTITY",
    "SYNCD_COSMOS__EMULATOR",
    "SYNCD_KEYVAULT__CA_FILE",
    "SYNCD_KEYVAULT__VERIFY_CHALLENGE",
)
_HOST = re.compile(r"://(?:[^/@;\s]*@)?(\[[^\]]*\]|[^:/;\s]*)")
_HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})


def services_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that a daemon gets to reach them. Raises Invalid where one is missing, or leads to another machine."""
    for name in _PLACES:
        value = environ.get(name)
        if not value:
            raise Invalid(
                f"{name} is not set: the demo needs {', '.join(_PLACES)}. `make demo BACKEND=azure` starts them all"
            )
        hosts = {host.lower() for host in _HOST.findall(value)}
        if not hosts or hosts - _HERE:
            where = ", ".join(sorted(hosts - _HERE)) or "a service on the internet"
            raise Invalid(f"{name} leads to {where}: the demo writes only to services on this machine")
    found = {name: environ[name] for name in (*_PLACES, *_DETAILS) if name in environ}
    return {**found, "SYNCD_HTTP__OUTGOING_ALLOW": "127.0.0.1"}  # the sample systems
