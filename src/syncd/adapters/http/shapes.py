"""How a provider's JSON shows an object, and its objects as records.

What is not as the shape says costs one record, never the page: it is set aside with its reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncd.domain.dotted import ABSENT, Path, getter, nested, shown, without
from syncd.domain.jsonbody import kind_of
from syncd.domain.timestamps import read_time
from syncd.ports.provider import Record, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.ports.api import Reply

#: Characters; the same bound as for ids in webhooks (domain/events).
MOST_ID = 500


def external_id(value: Json, where: str = "id") -> str:
    """Text, or a whole number as text. Raises ValueError for what cannot tell one object from another, and for what would lead a
    path out of its collection."""
    if type(value) is str:
        if 0 < len(value) <= MOST_ID and value not in (".", "..") and value.isprintable():
            return value
        raise ValueError(f"{where} is empty, longer than {MOST_ID} characters, or no id: {value[:40]!r}")
    if type(value) is int:
        return str(value)
    if value is ABSENT:
        raise ValueError(f"{where} is missing")
    raise ValueError(
        f"{where} is {kind_of(value)}{f' ({value})' if isinstance(value, float) else ''}; it must be text or a whole number"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """Where an object says that it is deleted."""

    path: Path
    values: tuple[str, ...] | None = None
    """Those that mean it, as text; None: whatever is not null, false, 0, empty or absent (a flag, a time of deletion)."""

    def reader(self) -> Callable[[JsonObject], bool]:
        get, values = getter(self.path), self.values
        if values is None:
            return lambda item: get(item) not in (ABSENT, None, False, 0, "", "0", "false", "False")
        return lambda item: str(get(item)) in values


class Shape:
    """Made once for each type and connection; what it needs to know about a record is then at hand.

    `exact_version`: `Record.version` is JSON, so that it can be sent back as the number or text that it was. `fields`: name in `Record.data` -> where the provider has it; None: the whole object without what is read otherwise and without
    `hidden`.
    """

    def __init__(
        self,
        *,
        id: Path = ("id",),  # noqa: A002 (the word that everybody uses)
        updated_at: Path | None = None,
        version: Path | None = None,
        exact_version: bool = False,
        deleted: Deleted | None = None,
        fields: Mapping[str, Path] | None = None,
        hidden: Sequence[Path] = (),
    ) -> None:
        self._id_path = id
        self._id = getter(id)
        self._updated_path = updated_at
        self._updated = None if updated_at is None else getter(updated_at)
        self._version = None if version is None else getter(version)
        self._exact_version = exact_version
        self._deleted = None if deleted is None else deleted.reader()
        self._paths = fields
        known = fields or {}
        self._plain_fields = [(name, path[0]) for name, path in known.items() if len(path) == 1]
        self._deep_fields = [(name, getter(path)) for name, path in known.items() if len(path) > 1]
        paths = (id, updated_at, version, deleted and deleted.path, *hidden)
        away = tuple(path for path in paths if path)
        self._names_away = tuple(path[0] for path in away if len(path) == 1)
        self._deep_away = tuple(path for path in away if len(path) > 1)

    # -- reading --

    def page(
        self, items: Sequence[Json], *, version: str | None = None, known_id: str | None = None
    ) -> tuple[list[Record], list[Unreadable]]:
        """A page's items as records, in their order, and those that are none."""
        records: list[Record] = []
        unreadable: list[Unreadable] = []
        # One loop without calls for what is usual: pages come by the thousand.
        id_of, updated, deleted, content = self._id, self._updated, self._deleted, self.data
        for position, item in enumerate(items):
            try:
                if type(item) is not dict:
                    raise ValueError(f"it is {kind_of(item)}, not an object")  # noqa: TRY301 (a reason, like all others)
                identifier = id_of(item)
                if not (type(identifier) is str and identifier.isalnum() and len(identifier) < MOST_ID):
                    identifier = self._id_otherwise(identifier, known_id)
                stamp = None if updated is None else updated(item)
                records.append(
                    Record(
                        external_id=identifier,
                        data=content(item),
                        updated_at=None if stamp is None else self._time(stamp),
                        version=version if self._version is None else self._version_of(item),
                        deleted=deleted is not None and deleted(item),
                    )
                )
            except ValueError as error:
                unreadable.append(Unreadable(position, str(error), item))
        return records, unreadable

    def record(self, item: Json, *, version: str | None = None, known_id: str | None = None) -> Record:
        """`version`: from outside the object, such as an ETag. `known_id`: of an object that need not name its own. Raises ValueError
        with the reason."""
        records, unreadable = self.page((item,), version=version, known_id=known_id)
        if unreadable:
            raise ValueError(unreadable[0].reason)
        return records[0]

    def _id_otherwise(self, value: Json, known_id: str | None) -> str:
        if value is ABSENT and known_id is not None:
            return known_id
        return external_id(value, shown(self._id_path))

    def _time(self, stamp: Json) -> float | None:
        """Nothing and an empty text say nothing; nonsense is an error, because a pull goes by it."""
        if stamp is ABSENT or stamp == "":
            return None
        try:
            return read_time(stamp)
        except ValueError as error:
            raise ValueError(f"{shown(self._updated_path or ())}: {error}") from None

    def data(self, item: JsonObject) -> JsonObject:
        """The content of an object. Never the object itself."""
        if self._paths is not None:
            found = {name: item[theirs] for name, theirs in self._plain_fields if theirs in item}
            for name, get in self._deep_fields:
                value = get(item)
                if value is not ABSENT:
                    found[name] = value
            return found
        found = item.copy()
        for name in self._names_away:
            found.pop(name, None)
        for path in self._deep_away:
            found = without(found, path)
        return found

    def _version_of(self, item: JsonObject) -> str | None:
        assert self._version is not None
        value = self._version(item)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            return None
        return json.dumps(value) if self._exact_version else str(value)

    # -- writing --

    def written(self, data: JsonObject) -> JsonObject:
        """Content as the provider wants it."""
        if self._paths is None:
            return dict(data)
        return nested({self._paths[name]: value for name, value in data.items() if name in self._paths})


def kept_aside(unreadable: Sequence[Unreadable], reply: Reply) -> list[Unreadable]:
    """Items that are no records, as people may see them: without the secrets that the answer echoes."""
    return [Unreadable(one.position, str(reply.masked(one.reason)), reply.masked(one.raw)) for one in unreadable]
