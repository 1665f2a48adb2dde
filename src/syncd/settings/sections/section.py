"""What all sections share: frozen, nothing unknown, nothing secret in an error."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

K = TypeVar("K")
V = TypeVar("V")


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


def sealed(values: Mapping[K, V]) -> Mapping[K, V]:
    """A read-only copy: a frozen model does not freeze the mapping inside it."""
    return MappingProxyType(dict(values))
