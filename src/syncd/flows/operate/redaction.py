"""Secrets by the name of their field: kept out of documents, answers and the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.secrets import Secret

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json

#: Field names, in lower case without `_` and `-`, that hold a secret. Whole names: `tokenUrl` and `maxTokens` hold none.
SECRET_NAMES = frozenset(
    {
        "accesskey",
        "accesstoken",
        "accountkey",
        "admintoken",
        "apikey",
        "apitoken",
        "authorization",
        "clientsecret",
        "connectionstring",
        "credential",
        "password",
        "privatekey",
        "refreshtoken",
        "secret",
        "secretkey",
        "secretsynctoken",
        "sharedsecret",
        "signingsecret",
        "synctoken",
        "token",
        "verificationtoken",
        "webhooksecret",
    }
)
#: Stands where a secret was.
HIDDEN = "***"


def is_secret_name(name: str) -> bool:
    return name.rpartition(".")[2].lower().replace("_", "").replace("-", "") in SECRET_NAMES


def redacted(value: Json) -> Json:
    """A copy with every secret replaced; lists and objects to any depth."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if is_secret_name(name) and inner not in (None, "") else redacted(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return HIDDEN if isinstance(value, Secret) else value


def secret_fields(value: Json, path: str) -> list[str]:
    """The paths of all fields whose names say that they hold a secret."""
    if isinstance(value, dict):
        return [
            found
            for name, inner in value.items()
            for found in ([f"{path}.{name}"] if is_secret_name(name) else secret_fields(inner, f"{path}.{name}"))
        ]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in secret_fields(inner, f"{path}[{index}]")]
    return []
