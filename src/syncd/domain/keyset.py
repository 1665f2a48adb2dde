"""Keyset cursors: the place after the last row of a page, tied to the query that it belongs to.

Documents that come or go meanwhile neither repeat nor hide others, and no backend keeps anything between two pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from syncd.domain.collections import COLLECTIONS, Collection
from syncd.domain.errors import Invalid
from syncd.domain.jsontypes import Json

#: Every document has one, so that it need not be declared.
ID = "id"


def check_declared(collection: Collection) -> None:
    """Raises Invalid for a collection that is not one of COLLECTIONS."""
    if COLLECTIONS.get(collection.name) is not collection:
        raise Invalid(f"collection {collection.name!r} is not declared")


def check_path(collection: Collection, path: str, declared: Sequence[str]) -> str:
    """The path, or Invalid naming those by which the collection may be queried."""
    if path not in declared:
        names = ", ".join(declared) or "none"
        raise Invalid(f"{collection.name} cannot be queried by {path!r}; declared paths: {names}")
    return path


def fingerprint(facts: Json) -> str:
    """Of what makes a query: with another order or filter its cursor would silently skip documents."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def cursor(mark: str, key: Sequence[Json]) -> str:
    return base64.urlsafe_b64encode(json.dumps([mark, list(key)]).encode()).decode().rstrip("=")


def position(text: str, mark: str, length: int) -> list[Json]:
    """The key inside a cursor of the query with this fingerprint. Raises Invalid."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found, key = json.loads(raw)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Invalid("the cursor is not one of ours", errors={"cursor": "take it from the page before"}) from error
    if found != mark or not isinstance(key, list) or len(key) != length:
        raise Invalid(
            "the cursor belongs to another query", errors={"cursor": "use it with the same filters and order"}
        )
    return key
