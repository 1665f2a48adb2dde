"""The script, and its calls as bytes of the Redis protocol (RESP2: redis.io/docs/reference/protocol-spec).

Written here by hand, because one is made for every request: redis-py takes longer to pack a call than Redis to decide it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from syncd.domain.errors import Invalid
from syncd.ports.limiter import Level

SCRIPT = "".join(
    (files(__package__) / name).read_text("utf-8") for name in ("window.lua", "planning.lua", "decide.lua")
).encode()
#: How EVALSHA names it: not for security.
SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()
#: Ten years: sums of microseconds stay exact in Lua's numbers. Seconds.
_LONGEST_WINDOW = 3.2e8
#: Longer reservations and tokens than ours are none of ours. Characters.
_LONGEST = 300


def bulk(part: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(part), part)


def microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The levels of a call, ready to be sent; made once for each set of levels."""

    levels: tuple[Level, ...]
    """Each window once."""
    tightest: Level
    least: int
    """What Redis admits of the tightest: a higher cost never passes."""
    window: float
    """The longest, in seconds."""
    head: bytes
    names: bytes
    tail: bytes


class Commands:
    """`tag` is the hash tag with which every key begins: one memory of Redis has one start marker, which each call looks at, and Redis
    looks at several keys at once only in one slot. One primary decides some 20,000 times a second, far more than providers allow."""

    def __init__(self, *, tag: str) -> None:
        self._tag = b"{%b}:" % tag.encode()
        self._life = bulk(self._tag + b"life")

    def plan(self, levels: Sequence[Level], shared: Callable[[int], int]) -> Plan:
        """`shared`: what Redis admits of a limit. Raises Invalid for a level that makes no sense."""
        windows: dict[tuple[str, float], Level] = {}
        for level in levels:
            if level.limit < 1 or not 1e-3 <= level.window < _LONGEST_WINDOW:
                raise Invalid(
                    f"{level.key!r} allows {level.limit} units in {level.window} s: a limit is at least 1, and a window"
                    f" at least a millisecond and below {_LONGEST_WINDOW:g} s"
                )
            known = windows.setdefault((level.key, level.window), level)
            if level.limit < known.limit:
                windows[level.key, level.window] = level
        if not windows:
            raise Invalid("a call needs at least one level")
        once = tuple(windows.values())
        tightest, count = min(once, key=lambda level: shared(level.limit)), len(once)
        return Plan(
            levels=once,
            tightest=tightest,
            least=shared(tightest.limit),
            window=max(level.window for level in once),
            head=self._head(keys=2 + count, arguments=10 + 2 * count),
            names=b"".join(bulk(self._tag + b"w:" + level.key.encode()) for level in once),
            tail=b"".join(bulk(b"%d" % n) for level in once for n in (microseconds(level.window), shared(level.limit))),
        )

    def take(
        self,
        plan: Plan,
        *,
        now: bytes,
        call: bytes,
        cost: int,
        reserve: bool,
        reservation: str | None,
        token: str | None,
        block: int,
        lease: float,
        most: int,
        memory: float,
    ) -> bytes:
        """`memory`: for how long the answer is kept for a call with the same `token`, or `call` where there is none; seconds."""
        return b"".join(
            (
                plan.head,
                self._sent(call, token),
                plan.names,
                b"$4\r\ntake\r\n",
                bulk(now),
                bulk(call),
                bulk(b"%d" % cost),
                b"$1\r\n1\r\n" if reserve else b"$1\r\n0\r\n",
                bulk(_foreign(reservation)),
                bulk(b"%d" % block),
                bulk(b"%d" % microseconds(lease)),
                bulk(b"%d" % most),
                bulk(b"%d" % (memory * 1000)),
                plan.tail,
            )
        )

    def charge(self, plan: Plan, *, now: bytes, call: bytes, cost: int, memory: float) -> bytes:
        unused = (b"0", b"", b"0", b"0", b"0")
        arguments = (b"charge", now, call, b"%d" % cost, *unused, b"%d" % (memory * 1000))
        return b"".join((plan.head, self._sent(call, None), plan.names, *map(bulk, arguments), plan.tail))

    def release(self, reservation: str, *, now: bytes) -> bytes:
        return self._plain(b"release", now, _foreign(reservation))

    def beat(
        self, *, now: bytes, call: bytes, run: bytes, uptime: float, life: bytes, charges: int, doubted: bool
    ) -> bytes:
        known = (life, b"%d" % charges, b"1" if doubted else b"0")
        return self._plain(b"beat", now, call, run, b"%d" % microseconds(uptime), *known)

    def prepare(self, *, now: bytes, call: bytes) -> bytes:
        return self._plain(b"prepare", now, call)

    def _plain(self, *arguments: bytes) -> bytes:
        return b"".join((self._head(keys=1, arguments=len(arguments)), *map(bulk, arguments)))

    def _head(self, *, keys: int, arguments: int) -> bytes:
        parts: Sequence[bytes] = (b"EVALSHA", SHA, b"%d" % keys)
        return b"".join((b"*%d\r\n" % (3 + keys + arguments), *map(bulk, parts), self._life))

    def _sent(self, call: bytes, token: str | None) -> bytes:
        # The two kinds never meet: a token may look like one of our own calls.
        return bulk(self._tag + (b"call:" + call if token is None else b"token:" + _foreign(token)))


def _foreign(text: str | None) -> bytes:
    return text.encode(errors="replace") if text is not None and len(text) <= _LONGEST else b""
