"""Types of settings: how a value is written, and how it is read.

A value may come from TOML (typed) or from the environment, the overlay or a flag (text), so each type reads both. What a type
raises is a NotAllowed that says what is wrong; what is allowed is said once, by `catalogue.allowed`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator
from pydantic.fields import Field

from syncd.domain.secrets import Secret

if TYPE_CHECKING:
    from syncd.domain.jsontypes import Json

T = TypeVar("T")

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class NotAllowed(ValueError):
    """What a value is not. Pydantic collects it, because it is a ValueError."""


@dataclass(frozen=True, slots=True)
class Form:
    """Marks a type with the words for what may be written there."""

    words: str


def duration(value: Json) -> float:
    """Seconds, from a number or from text such as `90`, `1.5s`, `10m`, `1h30m`, `7d`. Raises NotAllowed."""
    if isinstance(value, str):
        text = value.strip().lower()
        if len(text) > 40:
            raise NotAllowed("it is too long for a duration")
        if _NUMBER.fullmatch(text):
            return float(text)
        parts = _DURATION_PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise NotAllowed("it is not a duration")
        return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAllowed("it is not a duration")
    if not math.isfinite(value):
        raise NotAllowed("it is not a finite duration")
    if value < 0:
        raise NotAllowed("a duration is never negative")
    return float(value)


def size(value: Json) -> int:
    """Bytes, from a number or from text such as `65536`, `64KiB`, `1MiB`, `10MB`. Raises NotAllowed."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        unit = _SIZE_UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise NotAllowed("it is not a size")
        value = float(match[1]) * unit
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        raise NotAllowed("it is not a whole number of bytes")
    return int(value)


def switch(value: Json) -> bool:
    """true or false; as text also 1/0, yes/no, on/off in any case. Raises NotAllowed."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise NotAllowed("it is neither true nor false")


def _whole(value: Json) -> int:
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if isinstance(text, bool) or not isinstance(text, int):
        raise NotAllowed("it is not a whole number")
    return text


def _number(value: Json) -> float:
    if isinstance(value, bool):
        raise NotAllowed("it is not a number")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise NotAllowed("it is not a number") from None
    if not math.isfinite(number):
        raise NotAllowed("it is not a finite number")
    return number


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise NotAllowed("it is not text: put it in quotes")
    if not value.strip():
        raise NotAllowed("it is empty: leave the key out instead")
    if "\x00" in value:
        raise NotAllowed("it contains a NUL character")
    return value


def _secret(value: Json) -> Secret:
    if isinstance(value, Secret):
        return value
    return Secret(_text(value))


def listed(value: Json) -> Json:
    """A list as it is; text as a JSON array or as comma-separated items, trimmed, empty ones left out."""
    if isinstance(value, str):
        if value.strip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as error:
                raise NotAllowed(f"it begins like a JSON array but is not one ({error})") from None
        return [item.strip() for item in value.split(",") if item.strip()]
    if isinstance(value, tuple | list):
        return list(value)
    raise NotAllowed("it is not a list")


def _path(value: Json) -> Path:
    try:
        return Path(value if isinstance(value, Path) else _text(value)).expanduser().absolute()
    except RuntimeError:
        raise NotAllowed("its ~user is not known here") from None


Duration = Annotated[float, BeforeValidator(duration), Form('a duration such as 30 (seconds), "1.5s", "10m", "7d"')]
Size = Annotated[int, BeforeValidator(size), Form('a size such as 65536 (bytes), "64KiB", "1MiB"')]
Switch = Annotated[bool, BeforeValidator(switch), Form("true or false")]
Whole = Annotated[int, BeforeValidator(_whole), Form("a whole number")]
Number = Annotated[float, BeforeValidator(_number), Form("a number")]
Text = Annotated[str, BeforeValidator(_text), Form("text")]
Directory = Annotated[Path, BeforeValidator(_path), Form("a path")]
SecretText = Annotated[Secret, PlainValidator(_secret), Form("text; better a reference: env:NAME, file:/path")]


def setting(
    default: T,
    meaning: str,
    *,
    unit: str = "",
    least: float | None = None,
    most: float | None = None,
    restart: bool = False,
    early: bool = False,
    later: bool = False,
    allowed: str = "",
) -> T:
    """A field of a section.

    `meaning`: what it does and why the default is what it is. `restart`: a reload cannot apply it. `early`: needed before the
    store is open, so the stored overlay cannot set it. `later`: read and checked, but nothing in this release uses it.
    """
    extra: dict[str, Json] = {
        "unit": unit,
        "restart": restart or early,
        "early": early,
        "later": later,
        "allowed": allowed,
    }
    field: T = Field(default, description=meaning, ge=least, le=most, json_schema_extra=extra, validate_default=True)
    return field


def required(meaning: str) -> Any:  # Any: there is no default whose type could be the field's
    """A field without a default, of a table that is optional as a whole."""
    return Field(description=meaning)
