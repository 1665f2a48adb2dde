"""A REST API described by configuration, read into what the provider `rest` works with. Every complaint comes at once.

The settings of a connection:

    baseUrl       https://crm.example.com/api/v1
    headers       sent with every request; never a secret, which belongs into the credential
    test          a path that answers something cheap; absent: the first list with a limit of 1
    types.<name>  one type of object each:
      list get create update delete    paths below baseUrl, the last three and get with {id}
      updateMethod PATCH | PUT         PUT sends the whole object
      query objectQuery                fixed parameters of list, and of get
      items                            where a list's answer holds the objects; absent: the answer is the list
      item                             where an answer about one object holds it; absent: the answer is the object
      answers object | id              whether create and update answer the object, or its id alone; it is then read
      wrap                             the name under which a written object is sent; absent: as it is
      id updatedAt version deleted     where an object holds them; deleted also {path, values}
      etag                             true: the header ETag of an answer about one object is its version
      conditional                      if-match | field: writes carry the version, and the server refuses one that is not current
      paging                           {style, parameter, limit, most, first, next, more, total}: adapters/http/paging
      since                            a parameter's name, or {parameter, format iso | epoch | epoch_ms, exclusive}
      fields                           {ours: theirs}; absent: the whole object without what is named above
      leaveOut                         places of the whole object that are no content, such as a time of reading
      readOnly writable                names of ours
      creates                          {style idempotent, header} | {style lookup, parameter, field, delay} | {style blind}
      wholeEvents                      true: a webhook's data is the whole object, not some of its fields

Every place inside an answer is a dotted path (domain/dotted).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from syncd.adapters.http.paging import PAGING_STYLES, Paging
from syncd.adapters.http.shapes import Deleted, Shape
from syncd.domain.complaints import Complaints
from syncd.domain.dotted import Path, path_of, shown
from syncd.domain.errors import Invalid
from syncd.domain.fields import Fields
from syncd.domain.ids import USER_ID
from syncd.domain.timestamps import SINCE_FORMATS, SinceFormat
from syncd.ports.provider import Creates, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncd.domain.jsontypes import JsonObject

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, token
_SECRET_HEADER = re.compile(r"authorization|cookie|secret|token|api-?key|password", re.IGNORECASE)
_CREATES: tuple[Creates, ...] = ("idempotent", "lookup", "blind")
#: Parameters' usual names for each style of paging.
_PARAMETERS = {"page": "page", "offset": "offset", "cursor": "cursor"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    parameter: str
    style: SinceFormat = "iso"
    exclusive: bool = False
    """The server shows what is newer than the time, not what is as old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypePlan:
    """One type of object."""

    kind: Kind
    shape: Shape
    paging: Paging
    list: str | None = None
    get: str | None = None
    create: str | None = None
    update: str | None = None
    delete: str | None = None
    replaces: bool = False
    """Updates are PUT."""
    query: Mapping[str, str] = field(default_factory=dict)
    object_query: Mapping[str, str] = field(default_factory=dict)
    items: Path = ()
    item: Path = ()
    answers_id: bool = False
    wrap: str | None = None
    etag: bool = False
    conditional: str | None = None
    version: Path | None = None
    since: Since | None = None
    key_header: str | None = None
    marker: Path | None = None
    """Of `lookup`: where an object holds the key of the create that made it."""
    marker_parameter: str | None = None
    whole_events: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    base_url: str
    headers: Mapping[str, str]
    test: str | None
    types: Mapping[str, TypePlan]
    kinds: Mapping[str, Kind]


def faults_of(settings: JsonObject) -> dict[str, str]:
    """Field path -> what is wrong with it."""
    return _read(settings)[1]


def plan_of(settings: JsonObject) -> Plan:
    """Raises Invalid with every complaint."""
    plan, errors = _read(settings)
    if errors:
        path, text = next(iter(errors.items()))
        raise Invalid(f"settings.{path}: {text}", errors={f"settings.{name}": rule for name, rule in errors.items()})
    return plan


def _read(settings: JsonObject) -> tuple[Plan, dict[str, str]]:
    top = Complaints(settings)
    base_url = top.url("baseUrl") or ""
    headers = top.texts("headers")
    for name in headers:
        if not _HEADER_NAME.fullmatch(name):
            top.wrong(f"headers.{name}", "is not the name of a header")
        elif _SECRET_HEADER.search(name):
            top.wrong(
                f"headers.{name}", "a secret does not belong into settings, which are shown; send it in credential"
            )
    test = _template(top, "test", with_id=False)
    wanted = top.object("types", needed=True)
    if not wanted and "types" in top:
        top.wrong("types", "must describe at least one type of object")
    types: dict[str, TypePlan] = {}
    for name, described in wanted.items():
        path = f"types.{name}"
        if not USER_ID.fullmatch(name):
            top.wrong(path, "a type's name has 1 to 63 letters, digits, '.', '_' and '-'")
        if not isinstance(described, dict):
            top.wrong(path, "must be an object")
            continue
        types[name] = _type(name, Complaints(described, path=f"{path}.", errors=top.errors))
    top.finish()
    kinds = {name: one.kind for name, one in types.items()}
    return Plan(base_url=base_url, headers=headers, test=test, types=types, kinds=kinds), top.errors


def _type(name: str, given: Complaints) -> TypePlan:
    paths = {
        what: _template(given, what, with_id=what in ("get", "update", "delete"))
        for what in ("list", "get", "create", "update", "delete")
    }
    if not any(paths.values()):
        given.wrong("list", "needed: a type that can neither be listed nor written is none")
    if (paths["create"] or paths["update"]) and "get" not in given:
        given.wrong("get", "needed where objects are written: one that somebody changed meanwhile is read again")
    identifier = given.path("id", default=("id",)) or ("id",)
    version, etag = given.path("version"), given.flag("etag")
    conditional = given.choice("conditional", ("if-match", "field"))
    if etag and version:
        given.wrong("etag", "the version is either a field of the object or the header ETag")
    if conditional and not (etag or version):
        given.wrong("conditional", "needs version or etag: without a version there is nothing to compare")
    if conditional == "field" and not version:
        given.wrong("version", "needed where conditional is field")
    since = _since(given)
    updated_at = given.path("updatedAt")
    if since and not updated_at:
        given.wrong("updatedAt", "needed where since is used: it says how far a pull has come")
    deleted = _deleted(given)
    creates, header, marker, parameter, delay = _creates(given, creatable=paths["create"] is not None)
    if creates == "lookup" and not paths["list"]:
        given.wrong("list", "needed to look a created object up")
    fields = _fields(given)
    kind = Kind(
        name=name,
        fields=_writable(given, fields),
        creates=creates,
        updates=paths["update"] is not None,
        deletes=paths["delete"] is not None,
        conditional=conditional is not None,
        incremental=since is not None,
        deletes_visible=deleted is not None,
        lookup_delay=float(delay),
    )
    plan = TypePlan(
        kind=kind,
        shape=Shape(
            id=identifier,
            updated_at=updated_at,
            version=version,
            exact_version=conditional == "field",
            deleted=deleted,
            fields=fields,
            hidden=(*((marker,) if marker else ()), *_left_out(given)),
        ),
        paging=_paging(given),
        **paths,
        replaces=given.choice("updateMethod", ("PATCH", "PUT"), default="PATCH") == "PUT",
        query=given.texts("query"),
        object_query=given.texts("objectQuery"),
        items=given.path("items") or (),
        item=given.path("item") or (),
        answers_id=given.choice("answers", ("object", "id"), default="object") == "id",
        wrap=given.text("wrap"),
        etag=etag,
        conditional=conditional,
        version=version,
        since=since,
        key_header=header,
        marker=marker,
        marker_parameter=parameter,
        whole_events=given.flag("wholeEvents"),
    )
    given.finish()
    return plan


def _template(given: Complaints, name: str, *, with_id: bool) -> str | None:
    value = given.text(name)
    if value is None:
        return None
    if not value.startswith("/") or value.startswith("//") or "?" in value or "#" in value or " " in value:
        given.wrong(name, "must be a path below baseUrl, such as /contacts, without ? and #")
    elif ".." in value.split("/"):
        given.wrong(name, "must not climb out of baseUrl")
    elif value.count("{id}") != int(with_id):
        given.wrong(name, "must hold {id} once, such as /contacts/{id}" if with_id else "must not hold {id}")
    elif "{" in value.replace("{id}", ""):
        given.wrong(name, "may hold {id} and no other placeholder")
    return value


def _since(given: Complaints) -> Since | None:
    section = given.section("since", shorthand="parameter")
    if section is None:
        return None
    parameter = section.text("parameter", needed=True) or ""
    style = section.choice("format", SINCE_FORMATS, default="iso")
    found = Since(parameter=parameter, style=style, exclusive=section.flag("exclusive"))  # type: ignore[arg-type] # one of the choices
    section.finish()
    return found


def _deleted(given: Complaints) -> Deleted | None:
    value = given.take("deleted")
    if value is None or not isinstance(value, dict):
        path = given.path("deleted")
        return None if path is None else Deleted(path=path)
    section = given.section("deleted")
    assert section is not None
    path, values = section.path("path"), section.names("values")
    if path is None:
        section.wrong("path", "needed")
    section.finish()
    return None if path is None else Deleted(path=path, values=values)


def _creates(given: Complaints, *, creatable: bool) -> tuple[Creates, str | None, Path | None, str | None, int]:
    section = given.section("creates", shorthand="style")
    if section is None:
        return ("blind" if creatable else "none"), None, None, None, 5
    style = section.choice("style", _CREATES)
    if style is None:
        section.wrong("style", f"needed: one of {', '.join(_CREATES)}")
    if not creatable:
        given.wrong("create", "needed where creates says how")
    header = parameter = marker = None
    delay = 5
    if style == "idempotent":
        header = section.text("header", default="Idempotency-Key")
        if header and not _HEADER_NAME.fullmatch(header):
            section.wrong("header", "is not the name of a header")
    elif style == "lookup":
        parameter, marker = section.text("parameter", needed=True), section.path("field")
        delay = section.whole("delay", 0, 3600, 5)
        if marker is None:
            section.wrong("field", "needed: where an object holds the key that it was created with")
    section.finish()
    creates: Creates = next((one for one in _CREATES if one == style), "blind")
    return (creates if creatable else "none"), header, marker, parameter, delay


def _fields(given: Complaints) -> Mapping[str, Path] | None:
    if "fields" not in given:
        given.take("fields")
        return None
    found: dict[str, Path] = {}
    for name, value in given.object("fields").items():
        try:
            found[name] = path_of(value)
        except ValueError as error:
            given.wrong(f"fields.{name}", str(error))
    _apart(given, found)
    return found


def _left_out(given: Complaints) -> tuple[Path, ...]:
    names = given.names("leaveOut") or ()
    if names and "fields" in given:
        given.wrong("leaveOut", "is for whole objects: what fields does not name is left out anyway")
    try:
        return tuple(path_of(name) for name in names)
    except ValueError as error:
        given.wrong("leaveOut", str(error))
        return ()


def _apart(given: Complaints, fields: Mapping[str, Path]) -> None:
    """Two names for one place, or for a place inside another, could be told different things."""
    paths = sorted((path, name) for name, path in fields.items())
    for (path, name), (other, second) in pairwise(paths):
        if other[: len(path)] == path:
            given.wrong(f"fields.{second}", f"{shown(other)} is part of what {name} names already")


def _writable(given: Complaints, fields: Mapping[str, Path] | None) -> Fields:
    writable, read_only = given.names("writable"), given.names("readOnly") or ()
    for setting, names in (("writable", writable or ()), ("readOnly", read_only)):
        for name in names:
            if fields is not None and name not in fields:
                given.wrong(setting, f"{name!r} is not one of fields")
    # A place inside a list cannot be written alone.
    inside = [name for name, path in (fields or {}).items() if any(part.isdigit() for part in path)]
    allowed = fields if writable is None and fields is not None else writable
    return Fields(writable=None if allowed is None else frozenset(allowed), read_only=frozenset((*read_only, *inside)))


def _paging(given: Complaints) -> Paging:
    section = given.section("paging", shorthand="style")
    if section is None:
        return Paging()
    style = next((one for one in PAGING_STYLES if one == section.choice("style", PAGING_STYLES)), None)
    if style is None:
        section.wrong("style", f"needed: one of {', '.join(PAGING_STYLES)}")
    parameter = section.text("parameter", default=_PARAMETERS.get(style or "", "page")) or "page"
    following = section.path("next")
    if style == "cursor" and following is None:
        section.wrong("next", "needed: where the answer holds the token of the next page")
    if following is not None and style in ("page", "offset", "none"):
        section.wrong("next", f"is for cursor and link, not for {style}")
    found = Paging(
        style=style or "none",
        parameter=parameter,
        limit=section.text("limit"),
        most=section.whole("most", 1, 10_000, 100),
        first=section.whole("first", 0, 1, 1),
        next=following,
        more=section.path("more"),
        total=section.path("total"),
    )
    section.finish()
    return found
