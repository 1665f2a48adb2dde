"""What this process knows of Redis's memory, so that it sees when some of it is gone.

    start marker gone                    flushed, or restarted without its data: the script begins another life
    other run id, younger than its data  restarted with what was saved, which may be old
    other run id, older than its data    a replica took over
    fewer charges than were answered     it had not heard of the last ones
    clock ahead of the time that passed  set forward, or another machine's: windows opened early

In each case but the third what may be gone counts as full until a window has passed: the script's `since`. A replica that took over
without what no process of ours was told of is believed: that is the limit of guarantee G8, and health says so for a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Change = Literal["", "restarted", "failed_over", "forgot"]
#: By how much Redis's time may run ahead of ours between two beats. Seconds.
_DRIFT = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One answer of the script to a beat."""

    life: bytes
    at: float
    """Redis's time, seconds."""
    age: float
    """Seconds since when Redis is known to remember everything."""
    charges: int
    change: Change

    @classmethod
    def read(cls, answer: bytes) -> Beat:
        life, at, age, charges, change = answer.split(b" ")
        named: dict[bytes, Change] = {b"restarted": "restarted", b"failed_over": "failed_over", b"forgot": "forgot"}
        return cls(life=life, at=int(at) / 1e6, age=int(age) / 1e6, charges=int(charges), change=named.get(change, ""))


class Memory:
    def __init__(self) -> None:
        self.life = b""
        self.charges = 0
        """The most charges that an answer spoke of. A plain attribute: every answer writes it."""
        self._at = 0.0
        self._asked = 0.0

    def leaps(self, beat: Beat, answered: float) -> bool:
        """Whether Redis's clock went further than time did since the last beat. `answered`: monotonic seconds."""
        return beat.life == self.life and beat.at - self._at > answered - self._asked + _DRIFT

    def heard(self, beat: Beat, asked: float) -> None:
        """`asked`: monotonic seconds just before it was asked."""
        self.charges = max(self.charges, beat.charges) if beat.life == self.life else beat.charges
        self.life, self._at, self._asked = beat.life, beat.at, asked


def server_facts(info: bytes) -> tuple[bytes, float]:
    """Run id, and for how many seconds it runs at least, of `INFO server`: what that tells is the difference of two whole seconds, and
    may be one too many. Then one that was restarted within a second of its last save would look older than its data, and be believed."""
    facts = dict(line.partition(b":")[::2] for line in info.splitlines())
    return facts.get(b"run_id", b""), max(float(facts.get(b"uptime_in_seconds", b"0")) - 1.0, 0.0)
