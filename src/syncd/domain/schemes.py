"""Schemes whose parts the registration says: plain HMAC, with or without a signed time."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid
from syncd.domain.jsonbody import kind_of
from syncd.domain.signatures import (
    BODY,
    DEFAULT_TOLERANCE,
    DELIVERY_ID,
    ENCODINGS,
    KEY_ENCODINGS,
    TIMESTAMP,
    TIMESTAMP_FORMATS,
    SignatureScheme,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncd.domain.jsontypes import Json, JsonObject
    from syncd.domain.signatures import Algorithm

GENERIC: Mapping[str, Algorithm] = {"hmac-sha256": "sha256", "hmac-sha1": "sha1", "hmac-sha512": "sha512"}
#: Where a generic sender puts its signature unless the registration says otherwise.
DEFAULT_HEADER = "x-signature"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, token
#: Never kept with a message, whatever a registration asks for.
_NEVER_KEPT = re.compile(r"authorization|cookie|signature|token|secret|api-?key|hmac", re.IGNORECASE)


def scheme_for(
    name: str, settings: JsonObject, known: Mapping[str, SignatureScheme], *, tolerance: float = DEFAULT_TOLERANCE
) -> SignatureScheme:
    """The scheme that a registration names: one of a provider's in `known`, which take no settings, or a generic one made from
    `settings`; `tolerance` in seconds is for signed times whose settings name none. Raises Invalid with every wrong field."""
    scheme = known.get(name)
    if scheme is not None:
        if settings:
            raise Invalid(
                f"the scheme {name} is fixed by its provider and takes no settings",
                errors=dict.fromkeys((f"schemeSettings.{field}" for field in settings), "not a setting of this scheme"),
            )
        return scheme
    algorithm = GENERIC.get(name)
    if algorithm is None:
        names = ", ".join(sorted({*known, *GENERIC}))
        raise Invalid(
            f"there is no signature scheme {name!r}; there are: {names}", errors={"scheme": f"one of {names}"}
        )
    return _generic(name, algorithm, settings, tolerance)


def _generic(name: str, algorithm: Algorithm, settings: JsonObject, tolerance: float) -> SignatureScheme:
    reader = _Reader(settings)
    header = reader.take("header", _header, DEFAULT_HEADER)
    timestamp_header = reader.take("timestampHeader", _header, None)
    delivery_id_header = reader.take("deliveryIdHeader", _header, None)
    scheme = SignatureScheme(
        name=name,
        algorithm=algorithm,
        header=header,
        encoding=reader.take("encoding", _one_of(ENCODINGS), "hex"),
        prefix=reader.take("prefix", _text, ""),
        separator=reader.take("separator", _text, ""),
        key_encoding=reader.take("secretEncoding", _one_of(KEY_ENCODINGS), "text"),
        delivery_id_header=delivery_id_header,
        timestamp_header=timestamp_header,
        timestamp_format=reader.take("timestampFormat", _one_of(TIMESTAMP_FORMATS), "unix"),
        tolerance=reader.take("tolerance", _seconds, tolerance),
        # A time that is not signed protects from nothing: whoever replays the body writes a new one.
        signed=reader.take("signed", _text, f"{TIMESTAMP}.{BODY}" if timestamp_header else BODY),
        event_type_header=reader.take("eventTypeHeader", _header, None),
    )
    kept = reader.take("keepHeaders", _headers, ())
    _check_template(scheme, reader)
    reader.finish()
    always = ("content-type", delivery_id_header, scheme.event_type_header)
    names = dict.fromkeys([*(one for one in always if one), *kept])
    return replace(scheme, kept_headers=tuple(one for one in names if not _NEVER_KEPT.search(one)))


def _check_template(scheme: SignatureScheme, reader: _Reader) -> None:
    signed = scheme.signed
    if signed.count(BODY) != 1:
        reader.wrong("signed", f"must hold {BODY} exactly once: what does not cover the body proves nothing")
    if scheme.timestamp_header and TIMESTAMP not in signed:
        reader.wrong(
            "signed", f"must hold {TIMESTAMP} where timestampHeader is given: a time that is not signed is worthless"
        )
    if TIMESTAMP in signed and not scheme.timestamp_header:
        reader.wrong("timestampHeader", f"must be given where signed holds {TIMESTAMP}")
    if DELIVERY_ID in signed and not scheme.delivery_id_header:
        reader.wrong("deliveryIdHeader", f"must be given where signed holds {DELIVERY_ID}")


class _Reader:
    """Takes settings one by one and collects every complaint."""

    def __init__(self, settings: JsonObject) -> None:
        self._left = dict(settings)
        self._errors: dict[str, str] = {}

    def take(self, name: str, check: Callable[[Json], Json], default: Json) -> Json:
        value = self._left.pop(name, None)
        if value is None:
            return default
        try:
            return check(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def wrong(self, name: str, rule: str) -> None:
        self._errors.setdefault(f"schemeSettings.{name}", rule)

    def finish(self) -> None:
        for name in self._left:
            self.wrong(name, "not a setting of this scheme")
        if self._errors:
            raise Invalid(
                "; ".join(f"{field}: {rule}" for field, rule in sorted(self._errors.items())), errors=self._errors
            )


def _text(value: Json) -> str:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise ValueError(f"must be at most 200 printable characters; it is {kind_of(value)}")
    return value


def _header(value: Json) -> str:
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of a header")
    return value.lower()


def _headers(value: Json) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 20:
        raise ValueError("must be a list of at most 20 names of headers")
    return tuple(_header(one) for one in value)


def _seconds(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 86_400:
        raise ValueError("must be seconds from 1 to 86400")
    return float(value)


def _one_of(allowed: Sequence[str]) -> Callable[[Json], str]:
    def check(value: Json) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return str(value)

    return check
