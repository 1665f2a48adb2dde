"""Reading and writing one repository's objects. https://docs.github.com/rest/issues, /rest/pulls, /rest/repos

Creates. GitHub knows no idempotency key, so what we make carries a marker in its body, an HTML comment that GitHub does not
show (bots mark their comments in the same way), and that is never part of the content we keep. A create without an answer is
looked for by it, in the lists and not in the search, which lags by minutes. The price: the comment stands in the plain text of
notification mails until the body is next written. The limits: who deletes the marker by hand before we have looked makes a second
issue possible; so does an issue that is looked for only after 30 days.

Nothing here is conditional: GitHub takes If-Match for none of these objects.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncd.adapters.providers.github.content import COMMENT, ISSUE, PULL_REQUEST, REPOSITORY, key_in, marked
from syncd.adapters.providers.github.paging import (
    HEADERS,
    MOST_PER_PAGE,
    a_list,
    home_of,
    is_pull_request,
    read_page,
    record_of,
    repository_id_of,
)
from syncd.domain.errors import Invalid, NotFound, NotUnderstood, Rejected, ServerFault, SyncdError
from syncd.domain.events import moment_of
from syncd.domain.fields import Fields
from syncd.domain.times import DAY
from syncd.ports.provider import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.ports.api import Api, Reply
    from syncd.ports.provider import Fetch, Record, RecordPage

DEFAULT_URL = "https://api.github.com"
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98})")
_REPO = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,100}")
_NUMBERED = re.compile(r"([1-9][0-9]{0,18})#([1-9][0-9]{0,18})")
_ID = re.compile(r"[1-9][0-9]{0,18}")
#: Days for which an issue whose create was never answered is looked for.
_LOOKED_FOR = 30 * DAY
#: Pages of 100 after which a search gives up; more than 500 issues an hour GitHub lets nobody create.
_MOST_PAGES = 500

#: Lists lag behind writes by seconds: GitHub reads from replicas.
_LAG = 10.0
_KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name=ISSUE,
            fields=Fields(
                writable=frozenset({"title", "body", "state", "state_reason", "labels", "assignees", "milestone"})
            ),
            creates="lookup",
            updates=True,
            incremental=True,
            lookup_delay=_LAG,
        ),
        # `issue` is the number of the issue or pull request; it is told once, when the comment is made.
        Kind(
            name=COMMENT,
            fields=Fields(writable=frozenset({"body", "issue"})),
            creates="lookup",
            updates=True,
            deletes=True,
            incremental=True,
            lookup_delay=_LAG,
        ),
        Kind(
            name=PULL_REQUEST,
            fields=Fields(writable=frozenset({"title", "body", "state", "base"})),
            updates=True,
            incremental=True,
        ),
        Kind(
            name=REPOSITORY,
            fields=Fields(
                writable=frozenset(
                    {"description", "homepage", "default_branch", "has_issues", "has_projects", "has_wiki"}
                )
            ),
            updates=True,
            incremental=True,
        ),
    )
}
#: Emptied by an empty list; every other field by null.
_LISTS = ("labels", "assignees")


class GitHubRecords:
    """Settings of a connection: `owner`, `repo`, and `baseUrl` for GitHub Enterprise Server (https://host/api/v3)."""

    def base_url(self, settings: JsonObject) -> str:
        url = settings.get("baseUrl", DEFAULT_URL)
        wrong = _wrong_url(url)
        if wrong:
            raise Invalid(f"baseUrl {wrong}", errors={"baseUrl": wrong})
        return str(url).rstrip("/")

    def check(self, settings: JsonObject) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, form, said in (
            ("owner", _OWNER, "the name of a user or organization"),
            ("repo", _REPO, "the name of a repository, without its owner"),
        ):
            value = settings.get(name)
            if not isinstance(value, str) or not form.fullmatch(value):
                found[name] = f"must be {said}"
        wrong = _wrong_url(settings.get("baseUrl", DEFAULT_URL))
        return {**found, **({"baseUrl": wrong} if wrong else {})}

    def kinds(self, settings: JsonObject) -> Mapping[str, Kind]:
        return _KINDS

    async def test(self, api: Api) -> JsonObject:
        found = await home_of(api, self._home(api))
        permissions = found.get("permissions")
        return {
            "repository": found.get("full_name"),
            "private": found.get("private"),
            # GitHub shows all permissions with true or false.
            "permissions": sorted(name for name, held in permissions.items() if held is True)
            if isinstance(permissions, dict)
            else [],
        }

    async def fetch(self, api: Api, fetch: Fetch) -> RecordPage:
        _known(fetch.kind)
        return await read_page(api, self._home(api), fetch)

    async def read(self, api: Api, kind: str, external_id: str) -> Record | None:
        path, repository_id = self._place(api, kind, external_id)
        reply = await api.request("GET", path, operation="fetch", headers=HEADERS, accept=(404, 410))
        if reply.status in (404, 410):
            await self._see_that_only_this_is_gone(api, kind)
            return None
        found = reply.json()
        if kind == ISSUE and (is_pull_request(found) or await self._was_transferred(api, found, external_id)):
            return None
        return _record(kind, found, repository_id)

    async def create(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record:
        """What GitHub holds now, which may be less than `data`: an issue is created open, and closed by a second call that may fail."""
        if kind == COMMENT:
            sent = {"body": marked(data.get("body"), key)}
            return _record(COMMENT, await self._send(api, self._comments_of(api, data), sent), None)
        if kind != ISSUE:
            raise Rejected(f"GitHub's {kind} cannot be created by syncd")
        body = _sent({name: value for name, value in data.items() if name not in ("state", "state_reason")}, ISSUE)
        body = {name: value for name, value in body.items() if value is not None}
        body["body"] = marked(data.get("body"), key)
        found = await self._send(api, f"{self._home(api)}/issues", body)
        try:
            made = _record(ISSUE, found, await repository_id_of(api, self._home(api)))
        except SyncdError as error:
            # Whatever it was, the issue is there: this error alone has it looked for, and not created again.
            raise ServerFault(f"the issue was created, and its id could not be told: {error}") from error
        if data.get("state") != "closed":
            return made
        closing = {name: data[name] for name in ("state", "state_reason") if data.get(name)}
        try:
            closed = await self.update(api, ISSUE, made.external_id, closing, whole=data, version=None)
        except SyncdError:
            return made  # an error would say that nothing was created; what is missing the record tells
        return closed or made

    async def find(self, api: Api, kind: str, data: JsonObject, *, key: str) -> Record | None:
        query = {"per_page": str(MOST_PER_PAGE)}
        if kind == COMMENT:
            path = self._comments_of(api, data)
        elif kind == ISSUE:
            path = f"{self._home(api)}/issues"
            query |= {"state": "all", "sort": "created", "direction": "desc"}
        else:
            return None
        for _ in range(_MOST_PAGES):
            reply = await api.request("GET", path, operation="fetch", query=query, headers=HEADERS)
            items = a_list(reply.json())
            for found in items:
                if isinstance(found, dict) and key_in(found.get("body")) == key:
                    return _record(
                        kind, found, None if kind == COMMENT else await repository_id_of(api, self._home(api))
                    )
            link = reply.next_link()
            if link is None or (kind == ISSUE and items and _is_old(items[-1], reply)):
                return None
            path, query = link, {}
        raise ServerFault(f"GitHub's list goes on after {_MOST_PAGES} pages")

    async def update(
        self, api: Api, kind: str, external_id: str, changes: JsonObject, *, whole: JsonObject, version: str | None
    ) -> Record | None:
        path, repository_id = self._place(api, kind, external_id)
        body = _sent(changes, kind)
        if kind == COMMENT and body.pop("issue", None) is not None:
            raise Rejected("GitHub moves no comment to another issue")
        if kind == ISSUE and "state_reason" in body:
            # https://docs.github.com/rest/issues/issues#update-an-issue: the reason is ignored without the state.
            state = body.get("state") or whole.get("state")
            body |= {"state": state} if state else {}
        if not body:
            return await self.read(api, kind, external_id)
        # 301: the issue was transferred to another repository. Renamed repositories answer 307.
        reply = await api.request("PATCH", path, operation="update", json=body, headers=HEADERS, accept=(301, 404, 410))
        if reply.status in (301, 404, 410):
            await self._see_that_it_is_gone(api, kind, external_id)
            return None
        return _record(kind, reply.json(), repository_id)

    async def delete(self, api: Api, kind: str, external_id: str, *, version: str | None) -> None:
        path, _ = self._place(api, kind, external_id)
        if kind != COMMENT:
            raise Rejected(f"GitHub's interface deletes no {kind} for syncd; an issue can be closed")
        reply = await api.request("DELETE", path, operation="delete", headers=HEADERS, accept=(404, 410))
        if reply.status in (404, 410):
            await self._see_that_it_is_gone(api, kind, external_id)

    def _home(self, api: Api) -> str:
        settings = api.account.settings
        wrong = {name: said for name, said in self.check(settings).items() if name != "baseUrl"}
        if wrong:
            name, said = next(iter(wrong.items()))
            raise Invalid(f"{name} {said}", errors=wrong)
        return f"/repos/{settings['owner']}/{settings['repo']}"

    def _place(self, api: Api, kind: str, external_id: str) -> tuple[str, str | None]:
        """The path of an object, and the id of its repository where that is a part of its own."""
        _known(kind)
        numbered = _NUMBERED.fullmatch(external_id)
        if kind in (ISSUE, PULL_REQUEST) and numbered:
            return f"{self._home(api)}/{'issues' if kind == ISSUE else 'pulls'}/{numbered[2]}", numbered[1]
        if kind in (COMMENT, REPOSITORY) and _ID.fullmatch(external_id):
            return self._home(api) + (f"/issues/comments/{external_id}" if kind == COMMENT else ""), None
        raise Invalid(f"{external_id[:80]!r} is no id of a {kind} on GitHub")

    def _comments_of(self, api: Api, data: JsonObject) -> str:
        number = data.get("issue")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise Invalid(
                "a comment needs the number of its issue in the field `issue`", errors={"issue": "must be a number"}
            )
        return f"{self._home(api)}/issues/{number}/comments"

    async def _send(self, api: Api, path: str, body: JsonObject) -> Json:
        return (await api.request("POST", path, operation="create", json=body, headers=HEADERS)).json()

    async def _was_transferred(self, api: Api, found: Json, external_id: str) -> bool:
        """A transferred issue is answered by a redirect to what it became elsewhere; so is one of a renamed repository."""
        number = found.get("number") if isinstance(found, dict) else None
        if not isinstance(number, int) or str(number) != external_id.rpartition("#")[2]:
            return isinstance(number, int)
        address, home = str(found.get("repository_url", "")).casefold(), self._home(api)
        if not address or address.endswith(home.casefold()):
            return False
        return not address.endswith(f"/{(await home_of(api, home)).get('full_name')}".casefold())

    async def _see_that_only_this_is_gone(self, api: Api, kind: str) -> None:
        """An object is only known to be gone while its repository is seen: GitHub hides what a credential may not see behind the
        same 404, and answers 410 for all issues where they are switched off. Raises NotFound.
        https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api"""
        home = await home_of(api, self._home(api))
        if kind == ISSUE and home.get("has_issues") is False:
            raise NotFound(f"the issues of {home.get('full_name')} are switched off")

    async def _see_that_it_is_gone(self, api: Api, kind: str, external_id: str) -> None:
        """The same of a write: a credential that may only read is answered 404 as well."""
        if await self.read(api, kind, external_id) is not None:
            raise Rejected(
                f"GitHub shows the {kind} {external_id} and refuses to change it: the credential may only read, or the "
                "repository has another name now"
            )


def _known(kind: str) -> None:
    if kind not in _KINDS:
        raise Invalid(f"GitHub has no {kind[:80]!r}; it has {', '.join(_KINDS)}")


def _wrong_url(url: Json) -> str | None:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
        return "must be an address such as https://github.example.com/api/v3"
    return "must end with its path: no query, no fragment" if parts.query or parts.fragment else None


def _record(kind: str, found: Json, repository_id: str | None) -> Record:
    try:
        return record_of(kind, found, repository_id)
    except NotUnderstood as error:
        raise ServerFault(f"GitHub answered something that is no {kind}: {error}") from None


def _sent(data: JsonObject, kind: str) -> JsonObject:
    return {
        name: [] if value is None and name in _LISTS else value for name, value in _KINDS[kind].fields.of(data).items()
    }


def _is_old(found: Json, reply: Reply) -> bool:
    created = found.get("created_at") if isinstance(found, dict) else None
    try:
        return (
            created is not None
            and reply.served_at is not None
            and moment_of(created, "created_at") < reply.served_at - _LOOKED_FOR
        )
    except NotUnderstood:
        return False
