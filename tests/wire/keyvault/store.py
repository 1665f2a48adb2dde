"""What the vault holds, and the states a name passes through. Its clock is the double's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.wire.keyvault import refusals

State = Literal["active", "deleting", "deleted", "recovering", "purging"]


@dataclass(slots=True)
class Version:
    id: str
    value: str
    created: int
    """Whole seconds, as the service counts them."""
    updated: int
    enabled: bool = True
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Name:
    state: State = "active"
    until: float = 0.0
    versions: list[Version] = field(default_factory=list)


class Store:
    """`settling`: seconds that a deletion, a recovery and a purge take. No compare-and-set: there is nothing to compare with."""

    def __init__(self, *, url: Callable[[], str], now: Callable[[], float], settling: float = 0.0) -> None:
        self.settling = settling
        self.purge_protected = False
        self._url = url
        self._now = now
        self._names: dict[str, Name] = {}

    def _found(self, name: str) -> Name | None:
        """With what time has done to it."""
        found = self._names.get(name)
        if found is not None and found.until <= self._now():
            if found.state == "purging":
                del self._names[name]
                return None
            found.state = {"deleting": "deleted", "recovering": "active"}.get(found.state, found.state)  # type: ignore[assignment]  # both are States
        return found

    def _active(self, name: str) -> Name:
        found = self._found(name)
        if found is None or found.state != "active":
            raise refusals.not_found(name)
        return found

    def _deleted(self, name: str) -> Name:
        found = self._found(name)
        if found is None or found.state != "deleted":
            raise refusals.not_found(name)
        return found

    def set(self, name: str, value: str, tags: dict[str, str], enabled: bool) -> dict[str, Any]:
        found = self._found(name)
        if found is None:
            found = self._names[name] = Name()
        if found.state == "deleted":
            raise refusals.deleted(name)
        if found.state in ("deleting", "purging"):
            raise refusals.being_deleted(name)
        if found.state == "recovering":
            raise refusals.being_recovered(name)
        moment = int(self._now())
        version = Version(
            id=secrets.token_hex(16), value=value, created=moment, updated=moment, enabled=enabled, tags=tags
        )
        found.versions.append(version)
        return self._bundle(name, version, value=True)

    def version(self, name: str, version: str) -> Version:
        found = self._active(name)
        if not version:
            return found.versions[-1]
        try:
            return next(one for one in found.versions if one.id == version)
        except StopIteration:
            raise refusals.not_found(name, version) from None

    def get(self, name: str, version: str) -> dict[str, Any]:
        found = self.version(name, version)
        if not found.enabled:
            raise refusals.disabled()
        return self._bundle(name, found, value=True)

    def update(
        self, name: str, version: str, attributes: dict[str, Any], tags: dict[str, str] | None
    ) -> dict[str, Any]:
        found = self.version(name, version)
        found.enabled = attributes.get("enabled", found.enabled)
        found.updated = int(self._now())
        if tags is not None:
            found.tags = tags
        return self._bundle(name, found, value=False)

    def versions(self, name: str) -> list[dict[str, Any]]:
        """In the order of their ids, which is none of time (nagyesta/lowkey-vault#467)."""
        found = self._found(name)
        if found is None or found.state != "active":
            return []
        return [self._bundle(name, one, value=False) for one in sorted(found.versions, key=lambda one: one.id)]

    def delete(self, name: str) -> dict[str, Any]:
        found = self._active(name)
        found.state, found.until = "deleting", self._now() + self.settling
        return self._deleted_bundle(name, found)

    def get_deleted(self, name: str) -> dict[str, Any]:
        return self._deleted_bundle(name, self._deleted(name))

    def recover(self, name: str) -> dict[str, Any]:
        found = self._deleted(name)
        found.state, found.until = "recovering", self._now() + self.settling
        return self._bundle(name, found.versions[-1], value=False)

    def purge(self, name: str) -> None:
        found = self._deleted(name)
        if self.purge_protected:
            raise refusals.purge_protected()
        found.state, found.until = "purging", self._now() + self.settling

    def copy(self, prefix: str, to: str) -> None:
        """All names that begin so, with their versions under the same ids, as names that begin the other way."""
        for name in [name for name in self._names if name.startswith(prefix)]:
            self._names[to + name.removeprefix(prefix)] = deepcopy(self._names[name])

    def holds(self, text: str) -> bool:
        """Is this value anywhere in the vault, readable or not?"""
        return any(text == one.value for name in list(self._names) for one in (self._found(name) or Name()).versions)

    def _bundle(self, name: str, version: Version, *, value: bool) -> dict[str, Any]:
        attributes = {
            "enabled": version.enabled,
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": "Recoverable" if self.purge_protected else "Recoverable+Purgeable",
            "recoverableDays": 90,
        }
        bundle: dict[str, Any] = {"id": f"{self._url()}/secrets/{name}/{version.id}", "attributes": attributes}
        if version.tags:
            bundle["tags"] = version.tags
        if value:
            bundle["value"] = version.value
        return bundle

    def _deleted_bundle(self, name: str, found: Name) -> dict[str, Any]:
        moment = int(self._now())
        more = {
            "recoveryId": f"{self._url()}/deletedsecrets/{name}",
            "deletedDate": moment,
            "scheduledPurgeDate": moment + 90 * 86400,
        }
        return {**self._bundle(name, found.versions[-1], value=False), **more}
