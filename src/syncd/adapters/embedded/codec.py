"""JSON text of documents and envelopes: orjson where the `speed` extra is installed, the standard library otherwise.

Both write compact UTF-8 and refuse NaN; what one wrote the other reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from syncd.domain.jsontypes import Json

dumps: Callable[[Json], str]
loads: Callable[[str | bytes], Json]

try:
    import orjson
except ImportError:

    def dumps(value: Json) -> str:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    loads = json.loads
else:

    def dumps(value: Json) -> str:
        # orjson refuses integers beyond 64 bits, which providers do send as ids; the standard library takes them.
        try:
            return orjson.dumps(value).decode()
        except TypeError:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def loads(text: str | bytes) -> Json:
        # orjson refuses what RFC 8259 leaves open (lone surrogates, huge integers); the standard library reads its own writing.
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return json.loads(text)
