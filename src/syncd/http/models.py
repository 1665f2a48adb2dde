"""The bodies of the admin API. Strict: no field is guessed, no type converted, no unknown name ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from syncd.domain.jsontypes import Json, JsonObject
from syncd.domain.merge import Rule


class Body(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )

    def fields(self, *without: str) -> JsonObject:
        """What was sent, under its wire names."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude=set(without))


_RULE = {"enum": [rule.value for rule in Rule]}
_CONFLICT = {
    "anyOf": [
        _RULE,
        {
            "type": "object",
            "properties": {"default": _RULE, "fields": {"type": "object", "additionalProperties": _RULE}},
            "additionalProperties": False,
        },
    ]
}


class EntityRules(Body):
    direction: Literal["pull", "push", "both"] = "pull"
    dedupe: Literal["external_id", "content_hash", "composite_key", "latest_wins"] = "external_id"
    key_fields: list[str] = Field(default_factory=list, description="of composite_key")
    ignore_fields: list[str] = Field(default_factory=list, description="top-level fields that content_hash leaves out")
    # Read by the domain, which names what is wrong in it; of a union pydantic would name every member.
    conflict: Annotated[Json, WithJsonSchema(_CONFLICT)] = "last_write_wins"


class NewConnection(Body):
    id: str
    tenant_id: str
    integration_id: str
    settings: JsonObject = Field(default_factory=dict)
    credential: dict[str, str] | None = Field(default=None, description="`kind` and its fields; never shown again")
    entities: dict[str, EntityRules] = Field(default_factory=dict)
    enabled: bool = True
    force: bool = Field(default=False, description="also where entities are linked to a former connection of this id")


class ConnectionChange(Body):
    settings: JsonObject = Field(default_factory=dict)
    credential: dict[str, str] | None = Field(default=None, description="`kind` and its fields; never shown again")
    entities: dict[str, EntityRules] = Field(default_factory=dict)
    enabled: bool = True
    force: bool = Field(
        default=False, description="also where linked entities would then lead to objects at another address"
    )


class OneType(Body):
    entity_type: str | None = Field(default=None, description="only this type; absent: all that the connection lists")


class Pull(OneType):
    since: str | None = Field(default=None, description="read what was changed at or after this time")
    full: bool = Field(default=False, description="read everything, not only what changed since the last pull")


class NewWebhook(Body):
    id: str
    tenant_id: str
    integration_id: str
    connection_id: str | None = None
    scheme: str
    scheme_settings: JsonObject = Field(default_factory=dict, description="of the generic schemes")
    secret: str | None = Field(default=None, min_length=1, description="generated, and shown once, where it is absent")
    rate: int | None = Field(default=None, ge=1, description="events per minute")
    max_body_bytes: int | None = Field(default=None, ge=1)
    enabled: bool = True


class FieldDecision(Body):
    """One of them."""

    take: Literal["ours", "theirs"] | None = None
    value: Json = None
    remove: bool = False


class ConflictDecision(Body):
    take: Literal["ours", "theirs"] | None = Field(
        default=None, description="for every open field that is not in fields"
    )
    decisions: dict[str, FieldDecision] = Field(
        default_factory=dict, alias="fields", description="by name of the field"
    )


class RotateWebhook(Body):
    secret: str | None = Field(default=None, min_length=1, description="generated, and shown once, where it is absent")
    overlap_seconds: int = Field(
        default=86_400, ge=0, le=30 * 86_400, description="how long the secret before stays valid; 0 for a leaked one"
    )


class WebhookChange(Body):
    enabled: bool


class NewTask(Body):
    integration_id: str
    tenant_id: str
    connection_id: str
    sync_mode: Literal["pull", "push", "bidirectional"]
    priority: Literal["high", "normal", "low"] = "normal"
    entity_type: str | None = None
    schedule: str | None = Field(
        default=None, description="when it runs again: `every 15m`, or cron with 5 fields, or with 6 and seconds first"
    )
    timezone: str | None = Field(default=None, description="the zone in which the schedule is read; UTC where absent")
    full: bool = Field(default=False, description="read everything, not only what changed since the last pull")
    since: str | None = Field(default=None, description="read what was changed at or after this time; for one run")


class EntityEdit(Body):
    tenant_id: str
    data: JsonObject


class NewEntity(Body):
    tenant_id: str
    data: JsonObject


class Replay(Body):
    ids: list[str] | None = None
    reason: str | None = Field(default=None, description="part of the reason")
    bin: str | None = None
    kind: str | None = None
    tenant_id: str | None = None
    connection_id: str | None = None
    before: str | None = Field(default=None, description="parked before this time")
    after: str | None = Field(default=None, description="parked at or after this time")
    rate: float = Field(default=50.0, gt=0, le=10_000, description="messages per second", strict=False)
    dry_run: bool = False


class Send(Body):
    body: Json = Field(description="the message: an object, or its text exactly as another system would send it")
    properties: JsonObject = Field(default_factory=dict, description="those of its producer, as correlationId")


class ParkedEdit(Body):
    body: Json = Field(description="the new body of the message, as JSON")


class RunJob(Body):
    at: str | None = Field(default=None, description="the nominal time of the run; now where it is absent")


class SettingsChange(BaseModel):
    """Sections and keys as in the configuration file, nested or dotted; null takes a key back."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
