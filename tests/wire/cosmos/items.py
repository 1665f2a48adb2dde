"""What the service holds: containers of items, each write with its etag, its time stamp and its place in the partition's log."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from azure.cosmos.partition_key import PartitionKey

from tests.wire.cosmos.refusals import MOST_ID_BYTES, Refused
from tests.wire.cosmos.sql import UNDEFINED, value_at

Body = dict[str, Any]
#: The partition key ranges of every container, (id, from, to): two, so that whatever crosses partitions has to merge.
RANGES = (("0", "", "1FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"), ("1", "1FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "FF"))
SYSTEM = ("_rid", "_self", "_etag", "_attachments", "_ts")


class Now(Protocol):
    def now(self) -> float: ...


def read_number(text: str) -> int | float:
    """Numbers are IEEE 754 doubles: a longer integer loses its last digits."""
    number = int(text)
    return number if abs(number) <= 2**53 else float(text)


def read_json(raw: bytes) -> Any:
    return json.loads(raw, parse_int=read_number)


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


@dataclass
class Item:
    body: Body
    lsn: int
    before: Body | None
    """What a reader who is one write behind still sees: the version before, None where there was none."""
    expires: float | None


@dataclass
class Container:
    name: str
    rid: str
    definition: Body
    partitions: dict[str, dict[str, Item]] = field(default_factory=dict)
    """Items by partition key as JSON, then by id."""
    logs: dict[str, int] = field(default_factory=lambda: {identifier: 1 for identifier, _, _ in RANGES})

    @property
    def key_path(self) -> str:
        return str(self.definition["partitionKey"]["paths"][0]).lstrip("/").replace("/", ".")

    def key_of(self, body: Body) -> str:
        value = value_at(body, self.key_path)
        return "[{}]" if value is UNDEFINED else json.dumps([value])

    def range_of(self, key: str) -> str:
        """By the hash that clients use as well, to find the session token of a partition."""
        definition = self.definition["partitionKey"]
        return _range_of(key, definition["paths"][0], definition["kind"], definition.get("version", 1))


@lru_cache(maxsize=4096)
def _range_of(key: str, path: str, kind: str, version: int) -> str:
    hashed = PartitionKey(path=path, kind=kind, version=version)._get_effective_partition_key_string(json.loads(key))
    return next(identifier for identifier, low, high in RANGES if low <= hashed < high)


class Store:
    """`now` is the service's own clock. `late`: expired items are not deleted yet, as when request units are short; queries
    leave them out all the same (time-to-live)."""

    def __init__(self, clock: Now) -> None:
        self._clock = clock
        self.late = False
        self.databases: dict[str, dict[str, Container]] = {}
        self._etags = itertools.count(1)

    def now(self) -> float:
        return self._clock.now()

    def container(self, database: str, name: str) -> Container:
        if database not in self.databases:
            raise Refused("no-database", database)
        if name not in self.databases[database]:
            raise Refused("no-container", name)
        return self.databases[database][name]

    def create_container(self, database: str, definition: Body) -> Container:
        if database not in self.databases:
            raise Refused("no-database", database)
        if definition["id"] in self.databases[database]:
            raise Refused("exists", definition["id"])
        rid = base64.b64encode(uuid.uuid4().bytes[:8]).decode().replace("/", "-")
        definition = {
            "indexingPolicy": {
                "indexingMode": "consistent",
                "includedPaths": [{"path": "/*"}],
                "excludedPaths": [{"path": '/"_etag"/?'}],
            },
            **definition,
        }
        container = Container(definition["id"], rid, definition)
        self.databases[database][container.name] = container
        return container

    # -- items --

    def expired(self, item: Item) -> bool:
        return item.expires is not None and self._clock.now() >= item.expires

    def find(self, container: Container, key: str, identifier: str) -> Item | None:
        item = container.partitions.get(key, {}).get(identifier)
        if item is not None and self.expired(item) and not self.late:
            del container.partitions[key][identifier]
            return None
        return item

    def living(self, container: Container, key: str | None, ids: set[str] | None) -> Iterator[tuple[str, Item]]:
        """(partition key, item) of all that queries see, in one partition or all; `ids` narrows it to these."""
        for one, items in container.partitions.items():
            if key not in (None, one):
                continue
            found = items.values() if ids is None else [items[name] for name in ids if name in items]
            for item in found:
                if not self.expired(item):
                    yield one, item

    def create(self, container: Container, key: str, body: Body, *, upsert: bool = False) -> Body:
        self.check(container, key, body)
        existing = self.find(container, key, body["id"])
        if existing is not None and not upsert:
            raise Refused("exists", body["id"])
        return self._store(container, key, body, existing)

    def replace(self, container: Container, key: str, identifier: str, body: Body, etag: str | None) -> Body:
        self.check(container, key, body)
        return self._store(container, key, body, self._matched(container, key, identifier, etag))

    def delete(self, container: Container, key: str, identifier: str, etag: str | None) -> None:
        self._matched(container, key, identifier, etag)
        del container.partitions[key][identifier]
        container.logs[container.range_of(key)] += 1

    def _matched(self, container: Container, key: str, identifier: str, etag: str | None) -> Item:
        existing = self.find(container, key, identifier)
        if existing is None:
            raise Refused("no-item", identifier)
        if etag is not None and etag not in ("*", existing.body["_etag"]):
            raise Refused("etag", identifier)
        return existing

    def _store(self, container: Container, key: str, body: Body, existing: Item | None) -> Body:
        partition = container.range_of(key)
        container.logs[partition] += 1
        now = int(self._clock.now())
        rid = (
            existing.body["_rid"] if existing else base64.b64encode(uuid.uuid4().bytes[:12]).decode().replace("/", "-")
        )
        stored = {name: value for name, value in body.items() if name not in SYSTEM}
        stored |= {
            "_rid": rid,
            "_self": f"dbs/db/colls/{container.rid}/docs/{rid}/",
            "_etag": f'"{next(self._etags):08x}-0000-0700-0000-000000000000"',
            "_attachments": "attachments/",
            "_ts": now,
        }
        container.partitions.setdefault(key, {})[body["id"]] = Item(
            stored, container.logs[partition], existing.body if existing else None, self._expiry(container, body, now)
        )
        return stored

    def _expiry(self, container: Container, body: Body, now: int) -> float | None:
        default = container.definition.get("defaultTtl")
        if default is None:
            return None
        seconds = body.get("ttl", default)
        return None if seconds == -1 else now + float(seconds)

    def check(self, container: Container, key: str, body: Body) -> None:
        identifier = body.get("id")
        if not isinstance(identifier, str) or not 1 <= len(identifier.encode()) <= MOST_ID_BYTES:
            raise Refused("id", repr(identifier)[:80])
        if set(identifier) & set("/\\?#"):
            raise Refused("id", identifier)
        ttl = body.get("ttl", -1)
        if isinstance(ttl, bool) or not isinstance(ttl, int) or not (ttl == -1 or 1 <= ttl <= 2147483647):
            raise Refused("ttl", repr(ttl))
        if container.key_of(body) != json.dumps(json.loads(key)):
            raise Refused("partition-key", f"{key} is not {container.key_of(body)}")
