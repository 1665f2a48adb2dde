"""Ids that locate themselves, and hashes for everything derived.

An id that we issue is `<partition>.<rest>`, so that a GET by id is a point read. `rest` is a ULID (sorts by time) or, where
the id must be the same on every attempt, a hash. Ids that users choose match `USER_ID`.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

from syncd.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


def ulid(now: float, entropy: bytes | None = None) -> str:
    """26 characters of Crockford base 32: 48 bits of milliseconds, 80 random bits. https://github.com/ulid/spec"""
    pairs = _PAIRS
    stamp = round(now * 1000)
    random = int.from_bytes(entropy or _entropy(), "big")
    return (
        f"{pairs[stamp >> 40 & 1023]}{pairs[stamp >> 30 & 1023]}{pairs[stamp >> 20 & 1023]}{pairs[stamp >> 10 & 1023]}"
        f"{pairs[stamp & 1023]}{pairs[random >> 70]}{pairs[random >> 60 & 1023]}{pairs[random >> 50 & 1023]}"
        f"{pairs[random >> 40 & 1023]}{pairs[random >> 30 & 1023]}{pairs[random >> 20 & 1023]}{pairs[random >> 10 & 1023]}"
        f"{pairs[random & 1023]}"
    )


def ulids(now: float, count: int) -> list[str]:
    """ULIDs of one moment, in their order. They have 60 random bits in common, and count up in the others."""
    pairs = _PAIRS
    first = ulid(now)
    before, start = first[:22], int.from_bytes(os.urandom(2), "big")
    return [f"{before}{pairs[place >> 10]}{pairs[place & 1023]}" for place in range(start, start + count)]


_pool = bytearray()


def _entropy() -> bytes:
    """Ten random bytes, drawn from the system a few hundred ids at a time: a system call an id is what an id would cost most."""
    global _pool
    if len(_pool) < 10:
        _pool += os.urandom(4090)
    taken = bytes(_pool[-10:])
    del _pool[-10:]
    return taken


def digest(*parts: str) -> str:
    """128 bits as 32 hex digits over the parts; each part is length-prefixed, so that no two lists collide by joining."""
    return hashlib.sha256("".join([f"{len(part)}:{part}" for part in parts]).encode()).hexdigest()[:32]


def digests(before: tuple[str, ...], last: Iterable[str]) -> list[str]:
    """`digest(*before, one)` of each of the last parts."""
    head = "".join([f"{len(part)}:{part}" for part in before])
    return [hashlib.sha256(f"{head}{len(one)}:{one}".encode()).hexdigest()[:32] for one in last]


def located(partition: str, rest: str) -> str:
    return f"{partition}.{rest}"


def partition_of(identifier: str) -> str:
    """The partition inside a located id. Raises Invalid where there is none."""
    partition, dot, rest = identifier.rpartition(".")
    if not (dot and partition and rest):
        raise Invalid(f"{identifier!r} is not an id of this kind: it must look like <partition>.<rest>")
    return partition


def check_user_id(field: str, value: object) -> str:
    """The value, or Invalid naming the field and what is allowed."""
    if not isinstance(value, str) or not USER_ID.fullmatch(value):
        rule = "1 to 63 characters: letters, digits, '.', '_' and '-', beginning with a letter or a digit"
        raise Invalid(f"{field} must be {rule}; it is {value!r}", errors={field: rule})
    return value
