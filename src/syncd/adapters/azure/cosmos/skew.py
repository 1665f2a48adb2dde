"""Our clock against the account's, which says the time in each answer.

An answer that we asked for at our time `a` and read at our time `r`, and that is dated with the second `d`, was made between `a` and
`r` by our clock, and between `d` and `d + 1` by the account's. So ours is ahead by more than `a - (d + 1)`, and by less than `r - d`.
A slow answer only proves less, and accuses nobody.

`Date`: https://learn.microsoft.com/rest/api/cosmos-db/common-cosmosdb-rest-response-headers, whole seconds (RFC 9110, 5.6.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

#: What the date of an answer leaves out. Seconds.
_WHOLE = 1.0


class Skew:
    def __init__(self) -> None:
        self.seconds = 0.0
        """By which our clock is ahead, or below 0 behind: what the last answer proves of it, nearest to none."""

    def answered(self, headers: Mapping[str, str], *, asked: float, read: float) -> None:
        """Times of ours in Unix seconds. Without a date, or with what is none, nothing is proved."""
        try:
            dated = parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except ValueError:
            return
        self.seconds = max(asked - (dated + _WHOLE), 0.0) + min(read - dated, 0.0)
