"""SQL filters of subscription rules, over a message's own fields (`sys.`) and its application properties.

Grammar and three-valued logic: MicrosoftDocs, service-bus-messaging-sql-filter. A property that is not there is unknown; so is a
comparison of unlike types; a rule matches only what is true.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from tests.wire.servicebus.message import Message

#: None is unknown.
Operand = bool | int | float | str | None
Expression = Callable[[Message], Operand]

#: `sys.` names and where they stand in the properties section. Source: OASIS AMQP 1.0 part 3, 3.2.4.
SYSTEM = {
    "messageid": 0,
    "to": 2,
    "label": 3,
    "subject": 3,
    "replyto": 4,
    "correlationid": 5,
    "contenttype": 6,
    "sessionid": 10,
    "replytosessionid": 12,
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*|\[[^\]]+\]|"[^"]+")|(?P<sign><>|!=|<=|>=|[=<>()+\-*/%,.]))""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Operand, Operand], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_WORDS = {"and", "or", "not", "in", "is", "null", "like", "escape", "true", "false", "exists"}


class InvalidFilter(Exception):
    """The service refuses to store such a rule."""


class Filter:
    """Raises InvalidFilter for a text that is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._expression = _Parser(text).whole()

    def matches(self, message: Message) -> bool:
        return self._expression(message) is True


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise InvalidFilter(f"not understood at {at}: {text[at:]!r}")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind]))
            at = match.end()
        self._at = 0

    def whole(self) -> Expression:
        expression = self._or()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return expression

    def _unexpected(self) -> InvalidFilter:
        return InvalidFilter(f"not understood: {self._text!r}, token {self._at + 1}")

    def _peek(self) -> str:
        """The next word or sign in lower case; "" for anything else."""
        if self._at == len(self._tokens):
            return ""
        kind, text = self._tokens[self._at]
        return text.lower() if kind in ("name", "sign") else ""

    def _take(self, *wanted: str) -> str:
        found = self._peek()
        if found and found in wanted:
            self._at += 1
            return found
        return ""

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._unexpected()

    def _or(self) -> Expression:
        parts = [self._and()]
        while self._take("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda message: _either([part(message) for part in parts])

    def _and(self) -> Expression:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else lambda message: _both([part(message) for part in parts])

    def _not(self) -> Expression:
        if self._take("not"):
            return _negated(self._not())
        return self._predicate()

    def _predicate(self) -> Expression:
        left = self._sum()
        if sign := self._take(*_COMPARE):
            right = self._sum()
            return lambda message: _compared(sign, left(message), right(message))
        if self._take("is"):
            negated = bool(self._take("not"))
            self._need("null")
            return lambda message: (left(message) is None) is not negated
        negated = bool(self._take("not"))
        if self._take("in"):
            result = self._in(left)
        elif self._take("like"):
            result = self._like(left)
        elif negated:
            raise self._unexpected()
        else:
            return left
        return _negated(result) if negated else result

    def _in(self, left: Expression) -> Expression:
        self._need("(")
        options = [self._sum()]
        while self._take(","):
            options.append(self._sum())
        self._need(")")
        return lambda message: _either([_compared("=", left(message), option(message)) for option in options])

    def _like(self, left: Expression) -> Expression:
        pattern = self._sum()
        escape = self._sum() if self._take("escape") else None

        def like(message: Message) -> Operand:
            value, wanted = left(message), pattern(message)
            if not isinstance(value, str) or not isinstance(wanted, str):
                return None
            return _like_pattern(wanted, escape(message) if escape else None).fullmatch(value) is not None

        return like

    def _sum(self) -> Expression:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Expression:
        return self._chain(self._value, "*", "/", "%")

    def _chain(self, part: Callable[[], Expression], *signs: str) -> Expression:
        left = part()
        while sign := self._take(*signs):
            left = _calculated(sign, left, part())
        return left

    def _value(self) -> Expression:
        if self._take("("):
            inner = self._or()
            self._need(")")
            return inner
        if self._take("-"):
            return _calculated("-", lambda _: 0, self._value())
        if self._take("exists"):
            self._need("(")
            name = self._property()
            self._need(")")
            return lambda message: name(message) is not None
        if self._at == len(self._tokens):
            raise self._unexpected()
        kind, text = self._tokens[self._at]
        if kind == "name":
            return self._property()
        self._at += 1
        if kind == "number":
            number: Operand = float(text) if re.search(r"[.eE]", text) else int(text)
            return lambda _: number
        if kind == "text":
            literal = text[1:-1].replace("''", "'")
            return lambda _: literal
        self._at -= 1
        raise self._unexpected()

    def _name(self) -> str:
        if self._at == len(self._tokens) or self._tokens[self._at][0] != "name":
            raise self._unexpected()
        text = self._tokens[self._at][1]
        self._at += 1
        return text

    def _property(self) -> Expression:
        word = self._peek()
        if word in ("true", "false", "null"):
            self._at += 1
            constant: Operand = {"true": True, "false": False}.get(word)
            return lambda _: constant
        if word in _WORDS:
            raise self._unexpected()
        name = self._name()
        scope = "user"
        if self._take("."):
            scope, name = name.lower(), self._name()
        name = name[1:-1] if name[0] in '["' else name
        if scope == "user":
            return lambda message: _operand(message.application_properties.get(name))
        if scope != "sys" or name.lower() not in SYSTEM:
            raise InvalidFilter(f"there is no {scope}.{name}")
        place = SYSTEM[name.lower()]
        return lambda message: _operand(message.fields[place] if place < len(message.fields) else None)


def _operand(value: object) -> Operand:
    return value if isinstance(value, bool | int | float | str) else None


def _either(values: list[Operand]) -> Operand:
    return True if True in values else (None if None in values else False)


def _both(values: list[Operand]) -> Operand:
    return False if False in values else (None if None in values else True)


def _negated(expression: Expression) -> Expression:
    def negated(message: Message) -> Operand:
        value = expression(message)
        return (not value) if isinstance(value, bool) else None

    return negated


def _number(value: Operand) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compared(sign: str, left: Operand, right: Operand) -> Operand:
    alike = type(left) is type(right) or (_number(left) and _number(right))
    return _COMPARE[sign](left, right) if alike and left is not None else None


def _calculated(sign: str, left: Expression, right: Expression) -> Expression:
    def calculated(message: Message) -> Operand:
        one, other = left(message), right(message)
        if sign == "+" and isinstance(one, str) and isinstance(other, str):
            return one + other
        if not _number(one) or not _number(other) or (sign in "/%" and not other):
            return None
        return _ARITHMETIC[sign](one, other)  # type: ignore[arg-type]  # both are numbers: asked just above

    return calculated


def _like_pattern(text: str, escape: Operand) -> re.Pattern[str]:
    parts = []
    letters = iter(text)
    for letter in letters:
        if letter == escape:
            parts.append(re.escape(next(letters, "")))
        else:
            parts.append({"%": ".*", "_": "."}.get(letter, re.escape(letter)))
    return re.compile("".join(parts), re.DOTALL)
