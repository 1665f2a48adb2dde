"""A complete answer that the caller accepts: the port's `Reply`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from yarl import URL

from syncd.adapters.http.weblink import target_of
from syncd.domain.errors import NotUnderstood, ServerFault
from syncd.domain.jsonbody import canonical, parse
from syncd.domain.quota import http_date

if TYPE_CHECKING:
    from syncd.adapters.http.auth import Authorisation
    from syncd.adapters.http.exchange import Exchanged
    from syncd.domain.jsontypes import Json

#: Characters of a broken answer that its error quotes.
QUOTED = 80
#: Bytes that are looked at for that: more than any secret is long, so that none is cut in two and shown by half.
_LOOKED_AT = 64 * 1024


def excerpt(body: bytes, authorisation: Authorisation, length: int = QUOTED) -> str:
    """The beginning of `body` for a person: printable, on one line, without secrets."""
    text = authorisation.masked(body[:_LOOKED_AT].decode("utf-8", "replace"))
    line = " ".join("".join(one if one.isprintable() else " " for one in text[: 8 * length]).split())
    return line if len(line) <= length else line[:length] + "..."


class HttpReply:
    """Implements `ports.api.Reply`. Decoding happens when it is asked for, each time."""

    __slots__ = ("_answer", "_authorisation", "_target")

    def __init__(self, answer: Exchanged, *, target: str, authorisation: Authorisation) -> None:
        self._answer = answer
        self._target = target
        self._authorisation = authorisation

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def body(self) -> bytes:
        return self._answer.body

    @property
    def served_at(self) -> float | None:
        return http_date(self._answer.headers.get("date"))

    def json(self) -> Json:
        body = self._answer.body
        try:
            return parse(body)
        except NotUnderstood as error:
            begins = f"; it begins {excerpt(body, self._authorisation)!r}" if body.strip() else ""
            raise ServerFault(
                f"{self._target}: answered {self.status} with what is not JSON: "
                f"{self._authorisation.masked(str(error))}{begins}"
            ) from error

    def masked(self, part: Json) -> Json:
        text = canonical(part)
        masked = self._authorisation.masked(text)
        return part if masked == text else masked

    def next_link(self) -> str | None:
        """A whole URL. Without the key of a credential that is sent as a parameter: links are stored in cursors."""
        header = self._answer.headers.get("link")
        target = target_of(header, "next") if header else None
        if not target:
            return None
        try:
            url = self._answer.url.join(URL(target))
            keys = [name for name in self._authorisation.query if name in url.query]
            return str(url.without_query_params(*keys) if keys else url)
        except ValueError:
            return target  # no URL: asking for it is refused with its reason
