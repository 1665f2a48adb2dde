"""Names under which things are kept outside the documents: one rule for each kind, on every backend."""

from __future__ import annotations

import re

from syncd.domain.errors import Invalid

BLOB_NAME_LIMIT = 1024
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
#: Key Vault's rule. https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
_SECRET = re.compile(r"[0-9a-zA-Z-]{1,127}")


def blob_name(name: str) -> str:
    """The name itself: segments between `/`, none of them `.` or `..`. Raises Invalid."""
    segments = name.split("/")
    if len(name) > BLOB_NAME_LIMIT or not all(_SEGMENT.fullmatch(one) and one not in (".", "..") for one in segments):
        raise Invalid(
            f"{name[:100]!r} is no blob name: up to {BLOB_NAME_LIMIT} characters, segments of letters, digits, '.', '_', '~' "
            "and '-' between '/'"
        )
    return name


def secret_name(name: str) -> str:
    """The name itself. Raises Invalid."""
    if not _SECRET.fullmatch(name):
        raise Invalid(f"{name[:150]!r} is no name of a secret: 1 to 127 letters, digits and '-'")
    return name
