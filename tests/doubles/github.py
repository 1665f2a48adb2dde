"""GitHub's REST API for one repository, as https://docs.github.com/rest says it behaves. Pages are counted over the live list, so that
changes move objects from page to page; a Link names the repository by its id, as GitHub's do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web

from tests.doubles.contract import Doubles, JsonObject, ProviderDouble

REPOSITORY_ID = 4711
_HTML_COMMENT = re.compile(r"(\n\n)?<!--.*?-->", re.DOTALL)
_WRITABLE = {
    "issue": ("title", "body", "state", "state_reason", "labels", "assignees", "milestone"),
    "pull_request": ("title", "body", "state", "base"),
    "issue_comment": ("body", "issue"),
}
_REASONS = (None, "completed", "not_planned", "duplicate", "reopened")
_EVENTS = {"issue": "issues", "pull_request": "pull_request", "issue_comment": "issue_comment"}
_ACTIONS = {
    "issue": {"create": "opened", "update": "edited", "delete": "deleted"},
    "pull_request": {"create": "opened", "update": "edited", "delete": "deleted"},
    "issue_comment": {"create": "created", "update": "edited", "delete": "deleted"},
}


def stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def person(login: str) -> JsonObject:
    return {"login": login, "id": sum(login.encode()), "node_id": "U_x", "url": f"https://api.github.com/users/{login}"}


class GitHubDouble(ProviderDouble):
    def __init__(self, kinds: tuple[str, ...], *, prefix: str = "", parent: bool = False) -> None:
        """`prefix`: `/api/v3` on an enterprise server. `parent`: issue 1 is there from the start, for comments."""
        super().__init__()
        self.kinds = kinds
        self.prefix = prefix
        self.has_issues = True
        self.visible = True
        """False: the credential may not see the repository, and everything is 404."""
        self.may_write = True
        self.away = False
        """True: the repository's own address answers 502, and its issues are there."""
        self.objects: dict[str, dict[int, JsonObject]] = {"issue": {}, "pull_request": {}, "issue_comment": {}}
        self.deleted: set[int] = set()
        """Numbers of issues that are answered 410."""
        self.transferred: dict[int, int] = {}
        """Numbers of issues -> the number that each has in another repository."""
        self._numbers = 0
        if parent:
            self._make("issue", {"title": "the parent"})

    def settings(self) -> JsonObject:
        return {"baseUrl": f"{self.url}{self.prefix}", "owner": "Octo-Org", "repo": "hello.world"}

    # -- the system itself --

    def sample(self, kind: str, number: int) -> JsonObject:
        if kind == "issue_comment":
            return {"body": f"Größe {number}\r\n\n- [ ] done", "issue": 1}
        if kind == "pull_request":
            return {"title": f"Change {number}", "body": f"Because of {number}.", "state": "open", "base": "main"}
        return {
            "title": f"Fehler №{number}",
            "body": f"It fails {number} times.\n",
            "state": "open",
            "state_reason": None,
            "labels": ["bug", f"p{number}"],
            "assignees": ["ada", "bela"],
            "milestone": number,
        }

    def change(self, kind: str, number: int) -> JsonObject:
        if kind == "issue_comment":
            return {"body": f"rewritten {number}"}
        return {"title": f"renamed {number}", **({"labels": ["later"]} if kind == "issue" else {})}

    def put(self, kind: str, number: int) -> str:
        return self._identifier(kind, self._make(kind, self.sample(kind, number)))

    def edit(self, kind: str, external_id: str, changes: JsonObject) -> None:
        self._change(self._held(kind, external_id), changes)

    def remove(self, kind: str, external_id: str) -> None:
        number = self._held(kind, external_id)["number"]
        del self.objects[kind][number]
        if kind == "issue":
            self.deleted.add(number)

    def held(self, kind: str, external_id: str) -> JsonObject | None:
        found = self.objects[kind].get(int(external_id.rpartition("#")[2]))
        if found is None:
            return None
        seen = {name: found[name] for name in _WRITABLE[kind]}
        # What people see: they are not shown HTML comments.
        return {**seen, "body": _HTML_COMMENT.sub("", seen["body"]) or None if seen["body"] else None}

    def ids(self, kind: str) -> list[str]:
        return [self._identifier(kind, found) for found in self.objects[kind].values()]

    def event(
        self, kind: str, external_id: str, operation: Literal["create", "update", "delete"]
    ) -> tuple[Mapping[str, str], bytes] | None:
        found = self._held(kind, external_id)
        payload: JsonObject = {"action": _ACTIONS[kind][operation], "repository": self._home(), "sender": person("ada")}
        if kind == "issue_comment":
            payload |= {"comment": self._shown(kind, found), "issue": {"number": found["issue"]}}
        else:
            payload |= {kind: self._shown(kind, found)}
        headers = {"content-type": "application/json", "x-github-event": _EVENTS[kind], "x-github-delivery": "d-1"}
        return headers, json.dumps(payload).encode()

    def _held(self, kind: str, external_id: str) -> JsonObject:
        return self.objects[kind][int(external_id.rpartition("#")[2])]

    def _identifier(self, kind: str, found: JsonObject) -> str:
        return str(found["number"]) if kind == "issue_comment" else f"{REPOSITORY_ID}#{found['number']}"

    def _make(self, kind: str, fields: JsonObject) -> JsonObject:
        self._numbers += 1
        made: JsonObject = {"number": self._numbers, "created": self.now, "updated": self.now, "closed": None}
        made |= {"title": "", "body": None, "state": "open", "state_reason": None, "labels": [], "assignees": []}
        made |= {"milestone": None, "base": "main", "issue": None, **fields}
        self.objects[kind][self._numbers] = made
        return made

    def _change(self, found: JsonObject, changes: JsonObject) -> None:
        state = changes.get("state", found["state"])
        if state != found["state"]:
            found["closed"] = self.now if state == "closed" else None
            found["state_reason"] = changes.get("state_reason") or ("completed" if state == "closed" else "reopened")
        elif "state" in changes and changes.get("state_reason"):
            found["state_reason"] = changes["state_reason"]
        found |= {name: value for name, value in changes.items() if name != "state_reason"}
        found["updated"] = self.now

    # -- its wire --

    def _home(self) -> JsonObject:
        return {
            "id": REPOSITORY_ID,
            "node_id": "R_x",
            "name": "hello.world",
            "full_name": "Octo-Org/hello.world",
            "private": True,
            "owner": person("Octo-Org"),
            "has_issues": self.has_issues,
            "stargazers_count": 80,
            "permissions": {"admin": False, "push": self.may_write, "pull": True},
            "created_at": stamp(0),
            "updated_at": stamp(self.now),
        }

    def _shown(self, kind: str, found: JsonObject) -> JsonObject:
        number, url = found["number"], f"{self.url}{self.prefix}/repos/Octo-Org/hello.world"
        shown: JsonObject = {
            "id": number if kind == "issue_comment" else 900_000 + number,
            "node_id": "I_x",
            "user": person("ada"),
            "body": found["body"],
            "created_at": stamp(found["created"]),
            "updated_at": stamp(found["updated"]),
            "reactions": {"total_count": 0},
            "html_url": f"https://github.com/Octo-Org/hello.world/{number}",
        }
        if kind == "issue_comment":
            return {**shown, "issue_url": f"{url}/issues/{found['issue']}"}
        milestone = found["milestone"]
        shown |= {
            "number": number,
            "repository_url": url,
            "title": found["title"],
            "state": found["state"],
            "locked": False,
            # In the order in which they were given; nobody promises one.
            "labels": [{"id": 1, "name": name, "color": "ededed"} for name in reversed(found["labels"])],
            "assignees": [person(login) for login in reversed(found["assignees"])],
            "milestone": None if milestone is None else {"number": milestone, "title": "v1"},
            "comments": 3,
            "closed_at": None if found["closed"] is None else stamp(found["closed"]),
        }
        if kind == "issue":
            return {**shown, "state_reason": found["state_reason"]}
        base = {"ref": found["base"], "sha": "b" * 40, "repo": self._home()}
        return {**shown, "draft": False, "merged_at": None, "base": base, "head": {"ref": "fix", "sha": "a" * 40}}

    def routes(self) -> list[web.RouteDef]:
        made: list[web.RouteDef] = []
        for home in ("/repos/{owner}/{repo}", f"/repositories/{REPOSITORY_ID}"):
            at = self.prefix + home
            made += [
                web.get(at, self._seen(self._repository)),
                web.get(f"{at}/issues", self._seen(self._issues)),
                web.post(f"{at}/issues", self._written(self._create_issue)),
                web.get(f"{at}/pulls", self._seen(self._list_of("pull_request"))),
                web.get(f"{at}/issues/comments", self._seen(self._list_of("issue_comment"))),
                web.get(f"{at}/issues/{{number}}/comments", self._seen(self._comments)),
                web.post(f"{at}/issues/{{number}}/comments", self._written(self._create_comment)),
            ]
            for path, kind in (("pulls", "pull_request"), ("issues/comments", "issue_comment"), ("issues", "issue")):
                one = rf"{at}/{path}/{{number:\d+}}"
                made += [web.get(one, self._seen(self._get(kind))), web.patch(one, self._written(self._patch(kind)))]
                made += [web.delete(one, self._written(self._delete))] if kind == "issue_comment" else []
        return made

    def _seen(self, handler: Callable[[web.Request], web.StreamResponse]) -> Any:
        async def around(request: web.Request) -> web.StreamResponse:
            if "User-Agent" not in request.headers:
                return self._error(403, "Request forbidden by administrative rules.")
            if request.headers.get("X-GitHub-Api-Version", "2022-11-28") != "2022-11-28":
                return self._error(400, "unsupported version")
            named = request.match_info.get("owner", "octo-org"), request.match_info.get("repo", "hello.world")
            if not self.visible or tuple(map(str.lower, named)) != ("octo-org", "hello.world"):
                return self._error(404, "Not Found")
            return handler(request)

        return around

    def _written(self, handler: Callable[[web.Request, JsonObject], web.StreamResponse]) -> Any:
        async def around(request: web.Request) -> web.StreamResponse:
            if not self.visible or not self.may_write:
                return self._error(404, "Not Found")
            return handler(request, json.loads(await request.read() or b"{}"))

        return around

    def _repository(self, request: web.Request) -> web.StreamResponse:
        return self._error(502, "Server Error") if self.away else self._answer(request, self._home())

    def _issues(self, request: web.Request) -> web.StreamResponse:
        if not self.has_issues:
            return self._error(410, "Issues are disabled for this repo")
        both = [(kind, found) for kind in ("issue", "pull_request") for found in self.objects[kind].values()]
        return self._page(request, both, "issues")

    def _list_of(self, kind: str) -> Callable[[web.Request], web.StreamResponse]:
        paths = {"pull_request": "pulls", "issue_comment": "issues/comments"}
        return lambda request: self._page(
            request, [(kind, found) for found in self.objects[kind].values()], paths[kind]
        )

    def _comments(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        mine = [found for found in self.objects["issue_comment"].values() if found["issue"] == number]
        return self._page(request, [("issue_comment", found) for found in mine], f"issues/{number}/comments")

    def _page(self, request: web.Request, found: list[tuple[str, JsonObject]], path: str) -> web.StreamResponse:
        query = request.query
        if path in ("issues", "pulls"):
            state = query.get("state", "open")
            found = [one for one in found if state in ("all", one[1]["state"])]
        if "since" in query and path != "pulls":
            found = [one for one in found if stamp(one[1]["updated"]) >= query["since"]]
        by = "updated" if query.get("sort") == "updated" else "created"
        newest_first = query.get("direction", "asc" if "comments" in path else "desc") == "desc"
        found.sort(key=lambda one: (one[1][by], one[1]["number"]), reverse=newest_first)
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        shown = [self._listed(kind, one, path) for kind, one in found[(page - 1) * size : page * size]]
        link = {}
        if page * size < len(found):
            following = request.url.with_path(f"{self.prefix}/repositories/{REPOSITORY_ID}/{path}").update_query(
                {**query, "page": str(page + 1)}
            )
            link = {"Link": f'<{following}>; rel="next", <{following}>; rel="last"'}
        return self._answer(request, shown, link)

    def _listed(self, kind: str, found: JsonObject, path: str) -> JsonObject:
        shown = self._shown(kind, found)
        if path == "issues" and kind == "pull_request":
            return {**shown, "pull_request": {"url": "https://api.github.com/x"}}
        return shown

    def _get(self, kind: str) -> Callable[[web.Request], web.StreamResponse]:
        def get(request: web.Request) -> web.StreamResponse:
            number = int(request.match_info["number"])
            if kind == "issue" and (not self.has_issues or number in self.deleted):
                return self._error(410, "This issue was deleted" if self.has_issues else "Issues are disabled")
            found = self.objects[kind].get(number)
            if kind == "issue" and number in self.transferred:
                found = {**(found or {}), "number": self.transferred[number]}
            elif kind == "issue" and number in self.objects["pull_request"]:
                return self._answer(
                    request, self._listed("pull_request", self.objects["pull_request"][number], "issues")
                )
            return self._error(404, "Not Found") if found is None else self._answer(request, self._shown(kind, found))

        return get

    def _patch(self, kind: str) -> Callable[[web.Request, JsonObject], web.StreamResponse]:
        def patch(request: web.Request, body: JsonObject) -> web.StreamResponse:
            number = int(request.match_info["number"])
            if kind == "issue" and number in self.deleted:
                return self._error(410, "This issue was deleted")
            if kind == "issue" and number in self.transferred:
                return web.Response(status=301, headers={"Location": f"{self.url}/repositories/1/issues/1"})
            found = self.objects[kind].get(number)
            if found is None:
                return self._error(404, "Not Found")
            unknown = body.keys() - set(_WRITABLE[kind]) | ({"issue"} & body.keys())
            if unknown or body.get("title", "t") in (None, "") or body.get("state_reason") not in _REASONS:
                return self._error(422, f"Validation Failed: {sorted(unknown)}")
            self._change(found, body)
            return self._answer(request, self._shown(kind, found))

        return patch

    def _delete(self, request: web.Request, body: JsonObject) -> web.StreamResponse:
        found = self.objects["issue_comment"].pop(int(request.match_info["number"]), None)
        return self._error(404, "Not Found") if found is None else web.Response(status=204)

    def _create_issue(self, request: web.Request, body: JsonObject) -> web.StreamResponse:
        unknown = body.keys() - {"title", "body", "labels", "assignees", "milestone"}
        if not body.get("title") or unknown:
            return self._error(422, f"Validation Failed: {sorted(unknown)}")
        return web.json_response(self._shown("issue", self._make("issue", body)), status=201)

    def _create_comment(self, request: web.Request, body: JsonObject) -> web.StreamResponse:
        number = int(request.match_info["number"])
        if number not in self.objects["issue"] and number not in self.objects["pull_request"]:
            return self._error(404, "Not Found")
        if not body.get("body") or body.keys() != {"body"}:
            return self._error(422, "Validation Failed")
        made = self._make("issue_comment", {"body": body["body"], "issue": number})
        return web.json_response(self._shown("issue_comment", made), status=201)

    def _answer(self, request: web.Request, found: Any, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
        body = json.dumps(found).encode()
        etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
        quota = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4990", "x-ratelimit-resource": "core"}
        if request.method == "GET" and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag, **quota})
        return web.Response(
            body=body, content_type="application/json", headers={"ETag": etag, **quota, **(headers or {})}
        )

    def _error(self, status: int, message: str) -> web.Response:
        told = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
        return web.json_response(told, status=status)


DOUBLES: Doubles = {
    "github.com": lambda: GitHubDouble(("issue", "pull_request")),
    "enterprise server": lambda: GitHubDouble(("issue", "pull_request"), prefix="/api/v3"),
    "comments": lambda: GitHubDouble(("issue_comment",), parent=True),
}
