"""A connection's document, read for those who pull from it and push to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.domain.merge import Rules
from syncd.domain.receiving import Incoming, moment, order_of
from syncd.ports.api import Account

if TYPE_CHECKING:
    from syncd.domain.events import Operation
    from syncd.ports.documents import Document
    from syncd.ports.provider import Record


def account_of(connection: Document) -> Account:
    data = connection.data
    return Account(
        connection_id=connection.id,
        tenant_id=data["tenantId"],
        integration_id=data["integrationId"],
        settings=data.get("settings", {}),
        credential_id=data.get("credentialId"),
    )


def rules_of(connection: Document, entity_type: str) -> Rules:
    """Raises Invalid."""
    return Rules.of_connection(connection.data.get("entities", {}).get(entity_type, {}))


def incoming_of(record: Record, connection_id: str, said_at: float, page: str | None = None) -> Incoming:
    """A record of a page or an answer, as something the connection says. `said_at`: when it was asked, Unix seconds."""
    occurred_at = moment(record.updated_at, said_at)
    operation: Operation = "delete" if record.deleted else "update"
    return Incoming(
        connection_id=connection_id,
        external_id=record.external_id,
        operation=operation,
        data=record.data,
        occurred_at=occurred_at,
        order=order_of(occurred_at, operation, said_at),
        page=page,
        tag=record.version,
        timed=record.updated_at is not None,
    )
