"""Values that say where the value is: `env:NAME`, `file:/path`, `vault:name`.

`env:` and `file:` are followed when the configuration is loaded. `vault:` is kept: the vault opens only after the settings are
known, so whoever starts the daemon hands the secrets in with `Loaded.resolved`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: A secret file is a line or a key; more is a mistake in the path.
FILE_BYTES = 64 * 1024
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_VAULT_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")


@dataclass(frozen=True, slots=True)
class VaultReference:
    name: str


class BadReference(Exception):
    """Always turned into a Problem by the caller, who knows the key and where it was written."""

    def __init__(self, text: str, fix: str, via: tuple[str, ...]) -> None:
        super().__init__(text)
        self.text, self.fix, self.via = text, fix, via


def is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("env:", "file:", "vault:"))


def follow(value: str, environ: Mapping[str, str]) -> tuple[str | VaultReference, tuple[str, ...]]:
    """The value at the end of the chain, and the references followed. What a file holds is final. Raises BadReference."""
    via: tuple[str, ...] = ()
    while is_reference(value):
        scheme, _, target = value.partition(":")
        if value in via:
            chain = " -> ".join((*via[via.index(value) :], value))
            raise BadReference(f"the references go in a circle: {chain}", "let one of them hold the value itself", ())
        via = (*via, value)
        if scheme == "vault":
            if not _VAULT_NAME.fullmatch(target):
                fix = "write vault:name, the name of 1 to 127 letters, digits and '-'"
                raise BadReference(f"{value!r} names no secret of the vault", fix, via)
            return VaultReference(target), via
        if scheme == "file":
            return _read(value, target, via), via
        if not _ENV_NAME.fullmatch(target):
            raise BadReference(f"{value!r} names no environment variable", "write env:NAME", via)
        if target not in environ:
            fix = f"set {target} in the environment or an env file"
            raise BadReference(f"{value} is not set", fix, via)
        value = environ[target]
    return value, via


def _read(reference: str, target: str, via: tuple[str, ...]) -> str:
    path = Path(target.removeprefix("//"))
    if not path.is_absolute():
        raise BadReference(f"{reference!r} is a relative path", "write file:/absolute/path", via)
    try:
        if not path.is_file() and path.exists():
            raise BadReference(f"{reference} is not a file", "name a file that holds the value", via)
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        fix = "check the path, and that the user of the daemon may read it"
        raise BadReference(f"{reference} cannot be read ({error.strerror})", fix, via) from None
    except UnicodeDecodeError:
        raise BadReference(f"{reference} is not UTF-8 text", "a value is text", via) from None
    except ValueError:
        raise BadReference(f"{reference!r} is not a path", "write file:/absolute/path", via) from None
    if len(data) > FILE_BYTES:
        raise BadReference(
            f"{reference} holds more than {FILE_BYTES} bytes", "name a file that holds only the value", via
        )
    return text.removesuffix("\n").removesuffix("\r")
