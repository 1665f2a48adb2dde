"""The five ways in which APIs hand out lists in pages, as what to ask for and what comes next. Pure.

    page     ?page=2         the next number, until a page is empty or the answer says that it was the last
    offset   ?offset=200     as many further as came, so that a server may give fewer than it was asked for
    cursor   ?cursor=abc     a token from the answer
    link     a whole URL     from the header Link (RFC 8288) or from the answer
    none                     one page is all

A short page is never taken for the last one: servers cap pages at sizes of their own. The price is one request for an empty page
where the answer does not say how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urljoin

from syncd.domain.dotted import ABSENT, Path, getter, shown
from syncd.domain.errors import Invalid, ServerFault
from syncd.domain.ids import digest
from syncd.domain.jsonbody import canonical, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import Json
    from syncd.ports.provider import Record

PagingStyle = Literal["page", "offset", "cursor", "link", "none"]
PAGING_STYLES: tuple[PagingStyle, ...] = get_args(PagingStyle)
#: Characters of a token or link; what is longer fits no URL that a server takes.
MOST_TOKEN = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    style: PagingStyle = "none"
    parameter: str = "page"
    """Of `page`, `offset` and `cursor`."""
    limit: str | None = None
    """The parameter that says how many; None: the server decides."""
    most: int = 100
    """The greatest limit that the server takes."""
    first: int = 1
    """Number of the first page (`page`)."""
    next: Path | None = None
    """Where the answer holds the next token or link; None with `link`: the header Link."""
    more: Path | None = None
    """Where the answer says with true or false whether there is more; null and absent say nothing."""
    total: Path | None = None
    """Where the answer says how many objects (`offset`) or pages (`page`) there are."""

    def query(self, cursor: str | None, limit: int) -> dict[str, str]:
        """What the list is asked with. Not for a `link` after the first: that is asked as it is."""
        found: dict[str, str] = {}
        if self.limit is not None:
            found[self.limit] = str(max(1, min(limit, self.most)))
        if self.style == "page" or (self.style == "offset" and cursor is not None):
            found[self.parameter] = str(self._position(cursor)[0])
        elif self.style == "cursor" and cursor is not None:
            found[self.parameter] = cursor
        return found

    def following(
        self, *, cursor: str | None, count: int, records: Sequence[Record], body: Json, link: str | None, asked: str
    ) -> str | None:
        """The cursor of the next page; None: this was the last. `count`: items of this page, readable or not; `link`: of the header;
        `asked`: the URL that a relative link is relative to. Raises ServerFault where the answer leads nowhere or in a circle."""
        if self.style == "none" or (self.more is not None and getter(self.more)(body) in (False, 0, "false")):
            return None
        if self.style in ("page", "offset"):
            return self._numbered(cursor, count, records, body)
        token: Json = link if self.next is None else getter(self.next)(body)
        if token in (ABSENT, None, False, ""):
            return None
        if not (type(token) is str or (type(token) is int and self.style == "cursor")):
            raise ServerFault(f"the next page at {shown(self.next or ())} is {kind_of(token)}, not a text")
        found = urljoin(asked, str(token)) if self.style == "link" else str(token)
        if len(found) > MOST_TOKEN:
            raise ServerFault(f"the next page at {shown(self.next or ())} has {len(found)} characters")
        if found == cursor:
            raise ServerFault(f"the list runs in a circle: the page after {found[:80]!r} is that page itself")
        return found

    def _numbered(self, cursor: str | None, count: int, records: Sequence[Record], body: Json) -> str | None:
        position, before = self._position(cursor)
        if not count:
            return None
        following = position + (count if self.style == "offset" else 1)
        total = None if self.total is None else getter(self.total)(body)
        # Read as far as the list really goes where the answer says nothing or nonsense.
        if type(total) is int and following >= total + (self.first if self.style == "page" else 0):
            return None
        # Of a page on which nothing can be read, all of it says which page it is.
        content = digest(*(record.external_id for record in records)) if records else digest(canonical(body))
        if content == before:
            raise ServerFault(
                f"{self.parameter} {position} shows the same objects as the page before: the server does not know this parameter,"
                " or says otherwise where its list ends (paging.more, paging.total)"
            )
        return f"{following}~{content}"

    def _position(self, cursor: str | None) -> tuple[int, str]:
        """The number to ask for, and what the page before held."""
        if cursor is None:
            return (self.first if self.style == "page" else 0), ""
        number, _, content = cursor.partition("~")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise Invalid(f"{cursor[:60]!r} is no place in a list that is read by {self.style}")
        return int(number), content
