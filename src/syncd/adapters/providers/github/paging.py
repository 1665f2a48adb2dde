"""Reading lists. https://docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api

Lists are read from the newest to the oldest, always. Where pages are counted and not marked by a cursor, whatever changes while
we read moves to the front and pushes the rest back: an object may be seen twice, and none is skipped. (From the oldest on, each
change would move one unread object onto a page that was read already.) What moved to the front itself was changed after the
first answer, and so belongs to the next run.

Conditional requests (https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api): an answer 304 is not
counted by the primary limit. Read from the newest, the first page differs whenever anything changed, so that its ETag stands for
all pages. An ETag belongs to one address, and `since` is a part of it: the validator keeps both, the next run asks for the older
`since` once more, and what that brings beyond its own is harmless.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncd.adapters.http.shapes import kept_aside
from syncd.adapters.providers.github.content import (
    COMMENT,
    ISSUE,
    PULL_REQUEST,
    REPOSITORY,
    content_of,
    identifier_of,
)
from syncd.domain.errors import Invalid, NotUnderstood, ServerFault
from syncd.domain.events import moment_of
from syncd.domain.jsonbody import kind_of
from syncd.domain.times import iso
from syncd.ports.provider import Record, RecordPage, Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.ports.api import Api, Reply
    from syncd.ports.provider import Fetch

#: The version in which the documentation is read; requests that name none get the oldest one that is still supported.
#: https://docs.github.com/rest/about-the-rest-api/api-versions
HEADERS: Mapping[str, str] = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
#: Most objects that GitHub puts on a page.
MOST_PER_PAGE = 100
_LISTS = {ISSUE: "/issues", PULL_REQUEST: "/pulls", COMMENT: "/issues/comments", REPOSITORY: ""}
#: GitHub's own addresses of pages name the repository by its id, below the API's base URL.
_REPOSITORY_ID = re.compile(r"/repositories/([1-9][0-9]{0,18})/")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Which page: an address, and what later pages need to know of earlier ones."""

    path: str
    query: Mapping[str, str]
    repository_id: str | None = None

    def following(self, link: str, repository_id: str | None) -> str:
        if link == self.path:
            raise ServerFault("GitHub's next page is the page itself")
        return json.dumps({"url": link, "repository": repository_id})

    @classmethod
    def of(cls, cursor: str) -> _Place:
        try:
            told = json.loads(cursor)
            url, repository_id = told["url"], told["repository"]
            return cls(path=str(url), query={}, repository_id=None if repository_id is None else str(repository_id))
        except (ValueError, TypeError, KeyError):
            raise Invalid("this is no cursor of GitHub's lists") from None


async def read_page(api: Api, home: str, fetch: Fetch) -> RecordPage:
    """`home`: the path of the repository."""
    if fetch.cursor is not None:
        place, etag = _Place.of(fetch.cursor), None
    else:
        place, etag = _first(home, fetch)
    reply = await api.request(
        "GET",
        place.path,
        operation="fetch",
        query=place.query,
        headers={**HEADERS, "If-None-Match": etag} if etag else HEADERS,
        accept=(304,) if etag else (),
    )
    if reply.status == 304:
        return RecordPage(records=(), unchanged=True, validator=fetch.validator, served_at=reply.served_at)
    items = [_an_object(reply.json())] if fetch.kind == REPOSITORY else a_list(reply.json())
    link = reply.next_link()
    repository_id = place.repository_id or _told_by(link)
    if repository_id is None and _lacks_repository(fetch.kind, items):
        repository_id = await repository_id_of(api, home)
    records, unreadable = _read_all(fetch, items, repository_id)
    over = link is None or _reaches_back(fetch, items)
    return RecordPage(
        records=records,
        unreadable=kept_aside(unreadable, reply),
        next=None if over or link is None else place.following(link, repository_id),
        served_at=reply.served_at,
        validator=_validator(home, fetch, place, reply),
    )


async def home_of(api: Api, home: str) -> JsonObject:
    """The repository. Raises NotFound where the credential cannot see it."""
    return _an_object((await api.request("GET", home, operation="fetch", headers=HEADERS)).json())


async def repository_id_of(api: Api, home: str) -> str:
    try:
        return identifier_of(REPOSITORY, await home_of(api, home), "")
    except NotUnderstood as error:
        raise ServerFault(f"GitHub answered something that is no repository: {error}") from None


def record_of(kind: str, found: Json, repository_id: str | None) -> Record:
    """`repository_id` may be None where `found` tells it, or needs none. Raises NotUnderstood."""
    if not isinstance(found, dict):
        raise NotUnderstood(f"the {kind} must be an object; it is {kind_of(found)}")
    updated_at = found.get("updated_at")
    return Record(
        external_id=identifier_of(kind, found, _own_repository_id(found) or repository_id or ""),
        data=content_of(kind, found),
        updated_at=None if updated_at is None else moment_of(updated_at, "updated_at"),
    )


def _first(home: str, fetch: Fetch) -> tuple[_Place, str | None]:
    """The first page, and the ETag to ask with."""
    kept = _kept(home, fetch)
    if kept is not None:
        return _Place(path=home + _LISTS[fetch.kind], query=kept["query"]), kept["etag"]
    return _Place(path=home + _LISTS[fetch.kind], query=_query(fetch)), None


def _query(fetch: Fetch) -> dict[str, str]:
    if fetch.kind == REPOSITORY:
        return {}
    # A full read is in the order of creation, which nothing changes: what is absent from it is gone.
    query = {"sort": "created" if fetch.since is None else "updated", "direction": "desc"}
    query["per_page"] = str(max(1, min(fetch.limit, MOST_PER_PAGE)))
    if fetch.kind != COMMENT:
        query["state"] = "all"
    if fetch.since is not None and fetch.kind != PULL_REQUEST:  # lists of pull requests know no `since`
        query["since"] = _to_the_second(fetch.since)
    return query


def _to_the_second(moment: float) -> str:
    return f"{iso(moment // 1)[:-5]}Z"


def _kept(home: str, fetch: Fetch) -> JsonObject | None:
    """What the validator says, where it is about the same list and leaves out nothing that is asked for."""
    if fetch.validator is None or fetch.since is None:
        return None
    try:
        kept = json.loads(fetch.validator)
        query, wanted = dict(kept["query"]), _query(fetch)
        older = query.pop("since", "") <= wanted.pop("since", "")  # times of one width
        found = {"etag": str(kept["etag"]), "query": dict(kept["query"])}
        same = kept["home"] == home and query == wanted
    except (ValueError, TypeError, KeyError):
        return None  # another version's; asking without is always right
    return found if same and older else None


def _validator(home: str, fetch: Fetch, place: _Place, reply: Reply) -> str | None:
    etag = reply.headers.get("etag")
    # Of an older `since` no validator is made: its list would only ever grow. The next run begins a new one.
    if etag is None or fetch.cursor is not None or fetch.since is None or place.query != _query(fetch):
        return None
    return json.dumps({"home": home, "query": place.query, "etag": etag})


def _read_all(fetch: Fetch, items: Sequence[Json], repository_id: str | None) -> tuple[list[Record], list[Unreadable]]:
    records: list[Record] = []
    unreadable: list[Unreadable] = []
    for position, item in enumerate(items):
        if fetch.kind == ISSUE and is_pull_request(item):
            continue
        try:
            record = record_of(fetch.kind, item, repository_id)
        except NotUnderstood as error:
            unreadable.append(Unreadable(position, str(error), item))
            continue
        if fetch.since is None or record.updated_at is None or record.updated_at >= fetch.since // 1:
            records.append(record)
    return records, unreadable


def is_pull_request(item: Json) -> bool:
    """The lists of issues hold pull requests too: https://docs.github.com/rest/issues/issues."""
    return isinstance(item, dict) and item.get("pull_request") is not None


def _reaches_back(fetch: Fetch, items: Sequence[Json]) -> bool:
    """Whether a page holds something older than `since`; all later pages are older still."""
    if fetch.since is None:
        return False
    for item in items:
        try:
            if isinstance(item, dict) and moment_of(item.get("updated_at"), "updated_at") < fetch.since // 1:
                return True
        except NotUnderstood:
            continue  # it says nothing about the others
    return False


def _told_by(link: str | None) -> str | None:
    found = _REPOSITORY_ID.search(urlsplit(link).path) if link is not None else None
    return found[1] if found else None


def _lacks_repository(kind: str, items: Sequence[Json]) -> bool:
    return kind in (ISSUE, PULL_REQUEST) and any(
        isinstance(item, dict) and _own_repository_id(item) is None for item in items
    )


def _own_repository_id(found: JsonObject) -> str | None:
    """Of what says which repository it belongs to: a pull request by where it goes."""
    base = found.get("base")
    repository = base.get("repo") if isinstance(base, dict) else found.get("repository")
    identifier = repository.get("id") if isinstance(repository, dict) else None
    return str(identifier) if isinstance(identifier, int) and not isinstance(identifier, bool) else None


def a_list(found: Json) -> list[Json]:
    if isinstance(found, list):
        return found
    raise ServerFault(f"GitHub answered {kind_of(found)} where a list was asked for{_said(found)}")


def _an_object(found: Json) -> JsonObject:
    if isinstance(found, dict):
        return found
    raise ServerFault(f"GitHub answered {kind_of(found)} where an object was asked for")


def _said(found: Json) -> str:
    message = found.get("message") if isinstance(found, dict) else None
    return f": {message[:200]}" if isinstance(message, str) else ""
