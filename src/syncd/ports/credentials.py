"""Credentials as outgoing calls need them: usable now, or an error that says who must act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from syncd.domain.secrets import Secret

CredentialKind = Literal["bearer", "basic", "api_key", "oauth2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """`secrets` by the names that people gave them: token | username, password | value, header?, parameter? | accessToken."""

    kind: CredentialKind
    secrets: Mapping[str, Secret]
    version: str
    """Tells one state of the credential from the next."""


class Credentials(Protocol):
    async def usable(self, tenant_id: str, credential_id: str) -> Usable:
        """Refreshed before, where it is about to end. Raises AuthenticationFailed where a person must act, and what stores and the
        token endpoint raise where it could not be had for now."""
        ...

    async def refused(self, tenant_id: str, credential_id: str, version: str) -> bool:
        """The provider answered 401 to this version. True: there is another one now (refreshed, or changed meanwhile), try once more;
        False: there is not, and a person must act."""
        ...
