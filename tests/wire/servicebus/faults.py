"""What goes wrong on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.wire.servicebus.refusal import BUSY, Refused

#: What can be made to fail by name. `receive` is the next time that a receiver gives credit, `attach` any link to an entity,
#: `management` any operation there; each of those has its own name as well, without `com.microsoft:`.
OPERATIONS = frozenset(
    {"attach", "token", "send", "receive", "complete", "abandon", "defer", "dead-letter", "release", "management"}
    | {"renew-lock", "peek-message", "receive-by-sequence-number", "update-disposition", "schedule-message"}
    | {
        "cancel-scheduled-message",
        "renew-session-lock",
        "get-session-state",
        "set-session-state",
        "get-message-sessions",
    }
)


@dataclass(slots=True)
class Planned:
    refused: Refused | None
    """None: it is done, and its answer is lost with the connection."""
    times: int | None


@dataclass(slots=True)
class Faults:
    latency: float = 0.0
    """Seconds by which every answer is late."""
    silent: bool = False
    """Connections are accepted and bytes are read; nothing is answered."""
    planned: dict[str, list[Planned]] = field(default_factory=dict)

    def plan(self, operation: str, refused: Refused | None, times: int | None) -> None:
        if operation not in OPERATIONS:
            raise ValueError(f"there is no operation {operation!r}; there are {', '.join(sorted(OPERATIONS))}")
        self.planned.setdefault(operation, []).append(Planned(refused, times))

    def _take(self, operation: str, *, lost: bool) -> Planned | None:
        plans = self.planned.get(operation, [])
        for plan in plans:
            if (plan.refused is None) is lost:
                if plan.times is not None:
                    plan.times -= 1
                    if plan.times == 0:
                        plans.remove(plan)
                return plan
        return None

    def check(self, *operations: str) -> None:
        """Before it is done. Raises Refused."""
        if not self.planned:
            return
        for operation in operations:
            plan = self._take(operation, lost=False)
            if plan is not None and plan.refused is not None:
                raise plan.refused

    def loses_answer(self, *operations: str) -> bool:
        """After it was done: is its answer lost?"""
        return bool(self.planned) and any(self._take(operation, lost=True) is not None for operation in operations)

    def throttle(self, times: int | None) -> None:
        busy = Refused(
            BUSY, "The request was terminated because the namespace is being throttled. Wait 10 seconds and try again."
        )
        for operation in ("send", "attach", "receive", "management"):
            self.plan(operation, busy, times)
