"""What the Resource Manager says of a container group, as the port has it.

States: https://learn.microsoft.com/azure/container-instances/container-state
"""

from __future__ import annotations

from syncd.domain.jsontypes import Json, JsonObject
from syncd.ports.containers import GroupInfo, GroupState

_STATES: dict[str, GroupState] = {
    "Pending": "creating",
    "Waiting": "creating",
    "Running": "running",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Stopped": "failed",
}


def group_info(document: JsonObject) -> GroupInfo:
    """Of one container group in the form of the wire. Its first container is ours; what is missing is not known."""
    properties = _object(document.get("properties"))
    containers = properties.get("containers")
    container = _object(containers[0]) if isinstance(containers, list) and containers else {}
    view = _object(_object(container.get("properties")).get("instanceView"))
    current = _object(view.get("currentState"))
    exit_code, restarts = current.get("exitCode"), view.get("restartCount")
    tags = _object(document.get("tags"))
    return GroupInfo(
        name=str(document.get("name") or ""),
        state=_state(properties),
        tags={name: str(value) for name, value in tags.items()},
        exit_code=exit_code if isinstance(exit_code, int) else None,
        restarts=restarts if isinstance(restarts, int) else 0,
        reason=_reason(current, view),
    )


def _state(properties: JsonObject) -> GroupState | None:
    provisioning = properties.get("provisioningState")
    if provisioning == "Failed":  # attempts go on: whoever reads this deletes the group
        return "failed"
    told = _object(properties.get("instanceView")).get("state")
    if isinstance(told, str) and told in _STATES:
        return _STATES[told]
    return "creating" if provisioning in ("Pending", "Creating") else None


def _reason(current: JsonObject, view: JsonObject) -> str:
    """The container's own state, and the last event (a pull that failed is told there alone)."""
    events = view.get("events")
    last = _object(events[-1]) if isinstance(events, list) and events else {}
    return "; ".join(str(said) for said in (current.get("detailStatus"), last.get("message")) if said)


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
