"""The administration API: entities listed, read, made, changed and removed over HTTPS with Atom entries.

    async with administration(double) as admin:
        ServiceBusAdministrationClient.from_connection_string(admin.connection_string, connection_verify=admin.ca_file)

The SDK speaks HTTPS only, whatever the connection string says; `tls=False` is for other clients.
Paths and answers: azure.servicebus.management, `_generated`; rights: MicrosoftDocs, service-bus-sas.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

import trustme
from aiohttp import web

from tests.wire.faults import Faults, served
from tests.wire.servicebus import atom
from tests.wire.servicebus.access import MANAGE, POLICIES, ROOT, judge
from tests.wire.servicebus.atom import Fields, Unreadable
from tests.wire.servicebus.double import ServiceBusDouble
from tests.wire.servicebus.entity import Entity
from tests.wire.servicebus.refusal import Refused
from tests.wire.servicebus.specs import EntitySpec, TopicSpec
from tests.wire.servicebus.sqlfilter import Filter, InvalidFilter

#: Seconds. Source: MicrosoftDocs, message-transfers-locks-settlement and duplicate-detection.
LONGEST_LOCK, SHORTEST_WINDOW, LONGEST_WINDOW = 300.0, 20.0, 7 * 86_400.0
#: Source: MicrosoftDocs, service-bus-quotas: maximum size of any messaging entity path.
LONGEST_NAME = 260


class Answer(Exception):
    """Anything but success."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Administration:
    """The API of one double's namespace. `faults` and what was asked for (`faults.log`) are the test's."""

    def __init__(self, double: ServiceBusDouble) -> None:
        self.double = double
        self.faults = Faults()
        self.url = ""
        self.ca_file: str | None = None
        """What a client trusts; None without TLS."""
        self._namespace = double.namespace

    @property
    def connection_string(self) -> str:
        return self.connection_string_for(ROOT)

    def connection_string_for(self, policy: str) -> str:
        where = self.url.partition("://")[2]
        return f"Endpoint=sb://{where}/;SharedAccessKeyName={policy};SharedAccessKey={POLICIES[policy].key}"

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self.faults.middleware()])
        for path, get, put, delete in (
            ("/$namespaceinfo", self._info, None, None),
            ("/$Resources/{kind}", self._list, None, None),
            ("/{topic}/subscriptions", self._subscriptions, None, None),
            ("/{topic}/subscriptions/{name}", self._subscription, self._put_subscription, self._remove_subscription),
            ("/{topic}/subscriptions/{name}/rules", self._rules, None, None),
            ("/{topic}/subscriptions/{name}/rules/{rule}", self._rule, self._put_rule, self._remove_rule),
            ("/{name:.+}", self._get, self._put, self._remove),
        ):
            for method, handler in (("GET", get), ("PUT", put), ("DELETE", delete)):
                if handler is not None:
                    app.router.add_route(method, path, self._guarded(handler))
        return app

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[str]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                token = request.headers.get("Authorization", "").removeprefix("Bearer ")
                judge(token, float("inf")).allows(MANAGE, request.path)
                body = await handler(request)
            except Refused as refused:
                return _xml(atom.error(401, refused.description), 401)
            except (Unreadable, InvalidFilter, ValueError) as wrong:
                return _xml(atom.error(400, f"Bad Request. {wrong}"), 400)
            except Answer as other:
                return _xml(atom.error(other.status, other.detail), other.status)
            self.double.namespace.note("administration", method=request.method, path=request.path)
            return _xml(body, 201 if request.method == "PUT" else 200)

        return answer

    # Reading

    async def _info(self, _: web.Request) -> str:
        return atom.entry("syncd-double", atom.namespace_info("syncd-double"))

    async def _list(self, request: web.Request) -> str:
        kind, now = request.match_info["kind"], self.double.now()
        if kind == "queues":
            found = [atom.entry(each.spec.name, atom.queue(each, now)) for each in self._namespace.queues.values()]
        elif kind == "topics":
            found = [atom.entry(each.spec.name, atom.topic(each, now)) for each in self._namespace.topics.values()]
        else:
            raise Answer(400, f"There is no entity type {kind!r}")
        return atom.feed(kind, _page(request, found))

    async def _subscriptions(self, request: web.Request) -> str:
        topic = self._namespace.topics.get(_name(request, "topic"))
        if topic is None:
            raise Answer(404, "The topic could not be found")
        now = self.double.now()
        found = [atom.entry(each.spec.name, atom.subscription(each, now)) for each, _ in topic.subscriptions.values()]
        return atom.feed("subscriptions", _page(request, found))

    async def _get(self, request: web.Request) -> str:
        name, now = _name(request, "name"), self.double.now()
        if name in self._namespace.queues:
            queue = self._namespace.queues[name]
            return atom.entry(queue.spec.name, atom.queue(queue, now))
        if name in self._namespace.topics:
            topic = self._namespace.topics[name]
            return atom.entry(topic.spec.name, atom.topic(topic, now))
        # The service answers a missing entity with a feed of what is public there: nothing.
        return atom.feed("Publicly Listed Services", [])

    def _found(self, request: web.Request) -> tuple[Entity, dict[str, Filter]] | None:
        topic = self._namespace.topics.get(_name(request, "topic"))
        return topic.subscriptions.get(_name(request, "name")) if topic is not None else None

    def _must(self, request: web.Request) -> tuple[Entity, dict[str, Filter]]:
        if (found := self._found(request)) is None:
            raise Answer(404, "The subscription could not be found")
        return found

    async def _subscription(self, request: web.Request) -> str:
        if (found := self._found(request)) is None:
            return atom.feed("Publicly Listed Services", [])
        return atom.entry(found[0].spec.name, atom.subscription(found[0], self.double.now()))

    async def _rules(self, request: web.Request) -> str:
        rules, now = self._must(request)[1], self.double.now()
        found = [atom.entry(name, atom.rule(name, rule.text, now)) for name, rule in rules.items()]
        return atom.feed("rules", _page(request, found))

    async def _rule(self, request: web.Request) -> str:
        rules, name = self._must(request)[1], request.match_info["rule"]
        if name not in rules:
            raise Answer(404, "The rule could not be found")
        return atom.entry(name, atom.rule(name, rules[name].text, self.double.now()))

    # Writing

    async def _put(self, request: web.Request) -> str:
        name, body = unquote(request.match_info["name"]), await request.text()
        namespace, key = self._namespace, name.lower()
        if len(name) > LONGEST_NAME:
            raise Answer(400, f"The name is longer than {LONGEST_NAME} characters")
        there = namespace.queues.get(key) or namespace.topics.get(key)
        _expects(request, there is not None)
        if "QueueDescription" in body:
            spec = Fields(atom.read(body, "QueueDescription")).queue(name)
            _check(spec, there.spec if there is not None else None)
            entity = namespace.queues.get(key)
            if entity is None:
                entity = namespace.add_queue(spec)
            entity.spec = spec
            return atom.entry(name, atom.queue(entity, self.double.now()))
        described = Fields(atom.read(body, "TopicDescription")).topic(name)
        _check(described, there.spec if there is not None else None)
        topic = namespace.topics.get(key)
        if topic is None:
            topic = namespace.add_topic(described)
        topic.spec = described
        return atom.entry(name, atom.topic(topic, self.double.now()))

    async def _put_subscription(self, request: web.Request) -> str:
        topic, name = request.match_info["topic"], request.match_info["name"]
        if topic.lower() not in self._namespace.topics:
            raise Answer(404, "The topic could not be found")
        there = self._found(request)
        _expects(request, there is not None)
        spec = Fields(atom.read(await request.text(), "SubscriptionDescription")).subscription(name)
        _check(spec, there[0].spec if there is not None else None)
        entity = there[0] if there is not None else self._namespace.add_subscription(topic, spec)
        entity.spec = spec
        return atom.entry(name, atom.subscription(entity, self.double.now()))

    async def _put_rule(self, request: web.Request) -> str:
        rules, name = self._must(request)[1], request.match_info["rule"]
        _expects(request, name in rules)
        text = atom.read(await request.text(), "RuleDescription").findtext(f".//{{{atom.CONNECT}}}SqlExpression")
        if not text:
            raise Answer(400, "This double knows rules with an SQL expression only")
        rules[name] = Filter(text)
        return atom.entry(name, atom.rule(name, text, self.double.now()))

    async def _remove(self, request: web.Request) -> str:
        name = _name(request, "name")
        if name not in self._namespace.queues and name not in self._namespace.topics:
            raise Answer(404, "The entity could not be found")
        self._namespace.remove(name)
        return ""

    async def _remove_subscription(self, request: web.Request) -> str:
        self._must(request)
        self._namespace.remove(f"{_name(request, 'topic')}/subscriptions/{_name(request, 'name')}")
        return ""

    async def _remove_rule(self, request: web.Request) -> str:
        if self._must(request)[1].pop(request.match_info["rule"], None) is None:
            raise Answer(404, "The rule could not be found")
        return ""


def _xml(body: str, status: int) -> web.Response:
    return web.Response(text=body, status=status, content_type="application/xml")


def _name(request: web.Request, part: str) -> str:
    return unquote(request.match_info[part]).lower()


def _page(request: web.Request, found: list[str]) -> list[str]:
    skip = int(request.query.get("$skip", "0"))
    return found[skip : skip + int(request.query.get("$top", "100"))]


def _expects(request: web.Request, there: bool) -> None:
    """`If-Match` is how an update is told from a creation."""
    update = "If-Match" in request.headers
    if update and not there:
        raise Answer(404, "The entity could not be found")
    if there and not update:
        raise Answer(409, "The messaging entity exists already")


def _check(spec: EntitySpec | TopicSpec, before: EntitySpec | TopicSpec | None) -> None:
    window = spec.duplicate_detection
    if window is not None and not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
        raise Answer(400, "DuplicateDetectionHistoryTimeWindow must be between 20 seconds and 7 days")
    if isinstance(spec, EntitySpec) and not 0 < spec.lock_duration <= LONGEST_LOCK:
        raise Answer(400, "LockDuration must be at most 5 minutes")
    if isinstance(spec, EntitySpec) and not 1 <= spec.max_delivery_count <= 2000:
        raise Answer(400, "MaxDeliveryCount must be between 1 and 2000")
    if before is None:
        return
    fixed = [("RequiresDuplicateDetection", window is not None, before.duplicate_detection is not None)]
    if isinstance(spec, EntitySpec) and isinstance(before, EntitySpec):
        fixed.append(("RequiresSession", spec.requires_session, before.requires_session))
    for name, now, then in fixed:
        if now != then:
            raise Answer(400, f"The value of {name} of an existing entity cannot be changed")


@contextlib.asynccontextmanager
async def administration(double: ServiceBusDouble, *, port: int = 0, tls: bool = True) -> AsyncIterator[Administration]:
    """The administration API of the double's namespace, on a port of its own: AMQP and HTTPS share none here."""
    admin = Administration(double)
    with tempfile.TemporaryDirectory() as directory:
        context = None
        if tls:
            ca = trustme.CA()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
            admin.ca_file = str(Path(directory) / "ca.pem")
            ca.cert_pem.write_to_path(admin.ca_file)
        async with served(admin.application(), port=port, tls=context) as admin.url:
            yield admin
