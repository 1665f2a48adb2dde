"""The little of Cosmos DB's SQL that is needed here; anything else is refused with 400, as a typing error would be.

    SELECT [TOP n] * | VALUE COUNT(1) | c._rid, [...] AS orderByItems, c AS payload  FROM c [WHERE ...] [ORDER BY c.x [ASC|DESC], ...]

Undefined is a value of its own: a comparison of different types is undefined, and WHERE lets only true through
(https://learn.microsoft.com/azure/cosmos-db/nosql/query/equality-comparison-operators).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.wire.cosmos.refusals import Refused


class _Undefined:
    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = _Undefined()
Item = Mapping[str, Any]
Expression = Callable[[Item], Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<path>c(?:\.[A-Za-z_]\w*|\[\"(?:[^\"\\]|\\.)*\"\])+)|(?P<parameter>@\w+)|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<text>\"[^\"]*\"|'[^']*')|(?P<word>[A-Za-z_]\w*)|(?P<sign><=|>=|!=|<>|[=<>(),*\[\]{}:]))"
)
_ONLY_IDS = re.compile(r"SELECT \* FROM c WHERE c\.id IN \([@\w, ]+\)")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[\"((?:[^\"\\]|\\.)*)\"\]")


@dataclass
class Query:
    text: str
    top: int | None = None
    select: str = "*"
    """`*`, `count`, or `rewritten`: the form that the query plan gives to each partition."""
    where: Expression | None = None
    order: list[tuple[str, bool]] = field(default_factory=list)
    """(path, descending)"""
    ids: set[str] | None = None
    """Where WHERE is nothing but a list of ids: these, as an index finds them."""


def value_at(item: Item, path: str) -> Any:
    current: Any = item
    for name in path.split("."):
        if not isinstance(current, Mapping) or name not in current:
            return UNDEFINED
        current = current[name]
    return current


def kind(value: Any) -> int:
    """The rank by which ORDER BY sorts different types."""
    if value is UNDEFINED:
        return 0
    if value is None:
        return 1
    if isinstance(value, bool):
        return 2
    if isinstance(value, int | float):
        return 3
    if isinstance(value, str):
        return 4
    return 5


def compare(operator: str, left: Any, right: Any) -> Any:
    if left is UNDEFINED or right is UNDEFINED or kind(left) != kind(right):
        return UNDEFINED
    if operator == "=":
        return left == right
    if operator in {"!=", "<>"}:
        return left != right
    if left is None:
        return UNDEFINED
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


class _Parser:
    def __init__(self, text: str, parameters: Mapping[str, Any]) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._parameters = parameters
        self._query = Query(text)
        position = 0
        text = text.rstrip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise Refused("syntax", f"near {text[position : position + 20]!r}")
            assert found.lastgroup is not None
            self._tokens.append((found.lastgroup, found.group(found.lastgroup)))
            position = found.end()
        self._tokens.append(("end", ""))

    def _peek(self, *words: str) -> bool:
        group, text = self._tokens[0]
        return (text.upper() if group == "word" else text) in words

    def _take(self, *words: str) -> str:
        if words and not self._peek(*words):
            raise Refused("syntax", f"{' or '.join(words)} wanted, not {self._tokens[0][1]!r}")
        return self._tokens.pop(0)[1]

    def _path(self) -> str:
        group, text = self._tokens.pop(0)
        if group != "path":
            raise Refused("syntax", f"a path wanted, not {text!r}")
        return ".".join(plain or quoted for plain, quoted in _STEP.findall(text[1:]))

    def parse(self) -> Query:
        query = self._query
        self._take("SELECT")
        if self._peek("TOP"):
            self._take()
            query.top = int(self._value())
        self._select()
        self._take("FROM")
        self._take("C")
        if self._peek("WHERE"):
            self._take()
            query.where = self._or()
        if self._peek("ORDER"):
            self._take()
            self._take("BY")
            while True:
                path = self._path()
                query.order.append((path, self._peek("DESC")))
                if self._peek("ASC", "DESC"):
                    self._take()
                if not self._peek(","):
                    break
                self._take()
        if self._tokens[0][0] != "end":
            raise Refused("syntax", f"nothing wanted after {self._tokens[0][1]!r}")
        return query

    def _select(self) -> None:
        if self._peek("*"):
            self._take()
            return
        if self._peek("VALUE"):
            self._take()
            for word in ("COUNT", "(", "1", ")"):
                self._take(word)
            self._query.select = "count"
            return
        if self._path() != "_rid":
            raise Refused("syntax", "this double selects *, VALUE COUNT(1) or what its own query plan says")
        while not self._peek("FROM", ""):
            self._take()
        self._query.select = "rewritten"

    def _or(self) -> Expression:
        parts = [self._and()]
        while self._peek("OR"):
            self._take()
            parts.append(self._and())
        if len(parts) == 1:
            return parts[0]

        def evaluate(item: Item) -> Any:
            values = [part(item) for part in parts]
            return True if any(value is True for value in values) else _unless(values, False)

        return evaluate

    def _and(self) -> Expression:
        parts = [self._not()]
        while self._peek("AND"):
            self._take()
            parts.append(self._not())
        if len(parts) == 1:
            return parts[0]

        def evaluate(item: Item) -> Any:
            values = [part(item) for part in parts]
            return False if any(value is False for value in values) else _unless(values, True)

        return evaluate

    def _not(self) -> Expression:
        if self._peek("NOT"):
            self._take()
            inner = self._not()
            return lambda item: (not value) if isinstance(value := inner(item), bool) else UNDEFINED
        return self._comparison()

    def _comparison(self) -> Expression:
        if self._peek("("):
            self._take()
            inner = self._or()
            self._take(")")
            return inner
        if self._peek("TRUE", "FALSE"):
            constant = self._take().upper() == "TRUE"
            return lambda _: constant
        if self._peek("IS_DEFINED", "IS_NULL"):
            function = self._take().upper()
            self._take("(")
            path = self._path()
            self._take(")")
            if function == "IS_DEFINED":
                return lambda item: value_at(item, path) is not UNDEFINED
            return lambda item: value_at(item, path) is None
        path = self._path()
        if self._peek("IN"):
            self._take()
            self._take("(")
            values = [self._value()]
            while self._peek(","):
                self._take()
                values.append(self._value())
            self._take(")")
            if path == "id" and _ONLY_IDS.fullmatch(self._query.text):
                self._query.ids = set(values)
            listed = {(kind(value), value) for value in values}

            def one_of(item: Item) -> Any:
                value = value_at(item, path)
                return (kind(value), value) in listed if 1 <= kind(value) <= 4 else UNDEFINED

            return one_of
        operator = self._take("=", "!=", "<>", "<", "<=", ">", ">=")
        value = self._value()
        return lambda item: compare(operator, value_at(item, path), value)

    def _value(self) -> Any:
        group, text = self._tokens.pop(0)
        if group == "parameter":
            if text not in self._parameters:
                raise Refused("syntax", f"the parameter {text} has no value")
            return self._parameters[text]
        if group == "number":
            return float(text) if "." in text else int(text)
        if group == "text":
            return text[1:-1]
        constants = {"TRUE": True, "FALSE": False, "NULL": None}
        if group == "word" and text.upper() in constants:
            return constants[text.upper()]
        raise Refused("syntax", f"a value wanted, not {text!r}")


def _unless(values: list[Any], decided: bool) -> Any:
    return decided if all(value is decided for value in values) else UNDEFINED


def parse(text: str, parameters: Mapping[str, Any]) -> Query:
    return _Parser(text, parameters).parse()
