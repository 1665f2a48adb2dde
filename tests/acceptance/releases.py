"""Two releases of syncd beside each other: the one that is here, and the next one.

    python -m tests.acceptance.releases this
    python -m tests.acceptance.releases next JOURNAL

The next release is this code with what a release may change: its version; messages and documents one schema newer, with a property and
a field that this release has never heard of; a kind of message that this release does not know. What it writes and handles it notes
in the journal. This release is as it is, but for how long it lets a message wait that it does not know.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from syncd.domain.jsontypes import JsonObject

REPOSITORY = Path(__file__).parents[2]
NEXT = "99.0.0"
#: The name of the new property of messages and the new field of documents, and what the next release writes there.
SHADE, BLUE = "shade", "blue"
#: The kind of message that only the next release knows; its schema is one that this release must not even try.
KIND, SCHEMA = "shading", 3
#: Seconds; a release waits a minute.
UNKNOWN_WAIT = 2.0

ENVIRONMENT: Mapping[str, str] = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}


def this() -> list[str]:
    return [sys.executable, "-m", "tests.acceptance.releases", "this"]


def following(journal: Path) -> list[str]:
    return [sys.executable, "-m", "tests.acceptance.releases", "next", str(journal)]


def noted(journal: Path, what: str) -> list[JsonObject]:
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [one for one in found if one["what"] == what]


class _Journal:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, **facts: object) -> None:
        os.write(self._descriptor, json.dumps({"what": what, **facts}).encode() + b"\n")


def _become_next(journal: _Journal) -> None:
    """Before anything is imported that has taken these by value."""
    import syncd
    from syncd.domain import messages
    from syncd.domain.collections import COLLECTIONS

    syncd.__version__ = NEXT
    messages.MESSAGE_SCHEMA += 1
    messages.Envelope.__init__.__kwdefaults__["schema"] = messages.MESSAGE_SCHEMA
    plain_json = messages.Envelope.to_json

    def to_json(envelope: messages.Envelope) -> JsonObject:
        return {SHADE: BLUE, **plain_json(envelope)}

    def upgraded(data: JsonObject) -> JsonObject:
        return {SHADE: BLUE, **data}

    messages.Envelope.to_json = to_json  # type: ignore[method-assign] # the next release writes one property more
    for collection in COLLECTIONS.values():  # they are frozen for everybody but a next release
        object.__setattr__(collection, "schema", collection.schema + 1)
        object.__setattr__(collection, "upgrades", (*collection.upgrades, upgraded))

    from syncd.adapters.azure.cosmos.documents import CosmosDocuments
    from syncd.ports.documents import Delete

    plain_write = CosmosDocuments.write

    async def write(documents: CosmosDocuments, collection: Any, partition: str, writes: Sequence[Any]) -> Any:
        kept = [one for one in writes if not isinstance(one, Delete)]
        for one in kept:
            one.data.setdefault(SHADE, BLUE)
        answer = await plain_write(documents, collection, partition, writes)
        for one in kept:
            journal.note("document", collection=collection.name, partition=partition, id=one.id)
        return answer

    CosmosDocuments.write = write  # type: ignore[method-assign] # and every document with one field more


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("release", choices=["this", "next"])
    parser.add_argument("journal", type=Path, nargs="?")
    given = parser.parse_args()
    journal = None
    if given.release == "next":
        journal = _Journal(given.journal)
        _become_next(journal)

    from syncd.bootstrap.process import run_daemon
    from syncd.domain.outcomes import DONE, Outcome
    from syncd.runtime import executor
    from syncd.runtime.work import Handler, Work
    from syncd.settings import find_config, load

    executor.NEWER_RELEASE_WAIT = UNKNOWN_WAIT
    handlers = {}
    if journal is not None:
        noting = journal

        async def shade(work: Work) -> Outcome:
            envelope = work.envelope
            noting.note("message", origin=envelope.origin_id, shade=envelope.newer.get(SHADE), hop=envelope.hop)
            return DONE

        handlers[KIND] = Handler(handle=shade)
    return run_daemon(load(find_config(None, os.environ), (), os.environ), extra_handlers=handlers)


if __name__ == "__main__":
    sys.exit(main())
