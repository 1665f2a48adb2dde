"""The keys that the local vault encrypts with: one current key, and earlier ones that can still read.

A key comes from the text SECRET_KEY (through HKDF-SHA256) or is 32 random bytes in a file `<data_dir>/secret.key`, mode 0600, one
key per line in base64, the newest first. With SECRET_KEY set it is the current one, and keys in the file go on reading.

A key is known by its id: where it came from and the beginning of a hash, stored beside everything it encrypted, so that a wrong
key is recognised before anything is tried with it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from syncd.domain.errors import StoreUnusable
from syncd.domain.secrets import Secret

FILE_NAME = "secret.key"
#: Binds the derived key to this use of SECRET_KEY (RFC 5869, info). Never changed: everything stored hangs on it.
_PURPOSE = b"syncd vault v1"
_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """An AES-256 key. Its bytes are in no repr."""

    id: str
    origin: str
    """Where it came from, for people."""
    cipher: AESGCM = field(repr=False)


class Keyring:
    """The keys of one data directory. Everything here touches the file system and is to be called off the event loop."""

    def __init__(self, directory: Path, *, secret_key: Secret | None = None, previous: Sequence[Secret] = ()) -> None:
        """`previous`: former values of SECRET_KEY, which go on reading until `rotate_key` has rewritten what they encrypted."""
        self.path = directory / FILE_NAME
        self._from_text = [_derived(secret_key, "SECRET_KEY")] if secret_key else []
        self._earlier = [_derived(text, "a former SECRET_KEY") for text in previous]
        self._in_file: list[bytes] = []
        # Two first callers must not make a key each, and the second lose that of the first.
        self._changing = threading.RLock()
        self._keys: dict[str, Key] = {}

    def load(self) -> None:
        """Read the file, if there is one. Raises StoreUnusable where others could read it, or it is damaged."""
        self._in_file = _read(self.path)
        self._arrange()

    @property
    def file_rotates(self) -> bool:
        """Whether a new key is ours to make. With SECRET_KEY it is the operator's."""
        return not self._from_text

    def get(self, identifier: str) -> Key | None:
        return self._keys.get(identifier)

    def current(self) -> Key:
        """The key to encrypt with. Without SECRET_KEY and without a file, the file is made, durably, before it is used."""
        with self._changing:
            if not (self._from_text or self._in_file):
                self.add()
            return next(iter(self._keys.values()))

    def add(self) -> Key:
        """Put a new random key first in the file, which is replaced as a whole: a kill leaves the old one or the new one."""
        with self._changing:
            self._write([secrets.token_bytes(_BYTES), *self._in_file])
            return self.current()

    def drop_unused(self, used: set[str]) -> int:
        """Take out of the file what is not `used` and is not the current key; how many went."""
        with self._changing:
            kept = [
                key
                for index, key in enumerate(self._in_file)
                if _identify("file", key) in used or (index == 0 and self.file_rotates)
            ]
            gone = len(self._in_file) - len(kept)
            if gone:
                self._write(kept)
            return gone

    def known(self) -> str:
        """The keys there are, for an error message."""
        return ", ".join(f"{key.id} ({key.origin})" for key in self._keys.values()) or "none"

    def _arrange(self) -> None:
        in_file = [Key(_identify("file", key), f"the file {self.path}", AESGCM(key)) for key in self._in_file]
        keys: dict[str, Key] = {}
        for key in (*self._from_text, *in_file, *self._earlier):
            keys.setdefault(key.id, key)
        self._keys = keys  # at once: it is read while a key is added

    def _write(self, keys: list[bytes]) -> None:
        """Replace the file as a whole, durably; without keys there is none."""
        text = "".join(f"{base64.b64encode(key).decode()}\n" for key in keys)
        incoming = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}")
        try:
            if keys:
                descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            if not keys:
                self.path.unlink()
            elif self._in_file:
                incoming.replace(self.path)
            else:
                # Complete before it has its name, and never over a file that appeared meanwhile, as O_EXCL would have it.
                os.link(incoming, self.path)
                incoming.unlink()
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                incoming.unlink(missing_ok=True)
            raise StoreUnusable(f"the key file {self.path} cannot be written ({error})") from error
        self._in_file = keys
        self._arrange()


def _read(path: Path) -> list[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise StoreUnusable(
                    f"others on this machine can read the key file {path} (mode {mode:04o}): chmod 600 {path}"
                )
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StoreUnusable(f"the key file {path} cannot be read ({error})") from error
    keys = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                key = base64.b64decode(line.strip(), validate=True)
            except binascii.Error:
                key = b""
            if len(key) != _BYTES:
                # The line itself may be most of a key, so it is not shown.
                raise StoreUnusable(f"line {number} of the key file {path} is no key: restore the file from a backup")
            keys.append(key)
    if not keys:
        raise StoreUnusable(
            f"the key file {path} is empty: restore it from a backup, or remove it if nothing was encrypted"
        )
    return keys


def _derived(text: Secret, origin: str) -> Key:
    derived = HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=_PURPOSE).derive(text.reveal().encode())
    return Key(_identify("secret-key", derived), origin, AESGCM(derived))


def _identify(source: str, key: bytes) -> str:
    """48 bits of a hash of a 256-bit key: enough to tell keys apart, and of no use to find one."""
    return f"{source}-{hashlib.sha256(b'syncd key id' + key).hexdigest()[:12]}"
