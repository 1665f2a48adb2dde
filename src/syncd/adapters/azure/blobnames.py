"""Names of blobs, as the port has them: the same on every backend."""

from __future__ import annotations

import re

from syncd.domain.errors import Invalid

NAME_LIMIT = 1024
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


def checked(name: str) -> str:
    """The name itself. Raises Invalid."""
    segments = name.split("/")
    if len(name) > NAME_LIMIT or not all(_SEGMENT.fullmatch(one) and one not in (".", "..") for one in segments):
        raise Invalid(
            f"{name[:100]!r} is no blob name: up to {NAME_LIMIT} characters, segments of letters, digits, '.', '_', '~' and '-' "
            "between '/'"
        )
    return name
