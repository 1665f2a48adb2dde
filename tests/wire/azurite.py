"""Azurite, Microsoft's own emulator of Blob Storage, from npm: installed once under build/, started on a free port.

    with Azurite.started(directory=None, tls=False) as azurite: azurite.connection_string ...

In memory without a directory, else kept there over restarts. With `tls` it also takes tokens (`--oauth basic`: it checks their
audience, issuer and time, and no signature).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
#: The emulator's own key, the same everywhere. https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_CACHE = Path(__file__).parents[2] / "build" / f"azurite-{VERSION}"
#: A registry that cannot be reached is not asked again for each test. Seconds.
_AGAIN_AFTER = 900.0
_READY = "successfully listens on "


class Unavailable(Exception):
    """It cannot be had here; the text says why."""


def installed() -> Path:
    """The program, installed with npm where it is not there yet (20 s, once). Raises Unavailable."""
    program = _CACHE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise Unavailable("node or npm is not installed")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once: one installs, the other waits
        if not (_CACHE / "complete").exists():
            failed = _CACHE / "failed"
            if failed.exists() and time.time() - failed.stat().st_mtime < _AGAIN_AFTER:
                raise Unavailable(failed.read_text())
            asked = [npm, "install", "--prefix", str(_CACHE), "--no-audit", "--no-fund", "--ignore-scripts"]
            try:
                subprocess.run([*asked, f"azurite@{VERSION}"], capture_output=True, text=True, timeout=100, check=True)
            except (subprocess.SubprocessError, OSError) as error:
                failed.write_text(f"npm could not install azurite@{VERSION}: {error}")
                raise Unavailable(failed.read_text()) from error
            (_CACHE / "complete").touch()
    return program


class Azurite:
    """A running one. `url` is the account's."""

    def __init__(self, process: subprocess.Popen[str], url: str, ca_file: str | None) -> None:
        self.process = process
        self.address = url
        self.url = f"{url}/{ACCOUNT}"
        self.port = int(url.rpartition(":")[2])
        self.ca_file = ca_file
        scheme = url.partition(":")[0]
        self.connection_string = (
            f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.url};"
        )

    @classmethod
    @contextmanager
    def started(cls, *, directory: Path | None = None, port: int = 0, tls: bool = False) -> Iterator[Azurite]:
        node = shutil.which("node")
        program = installed()
        assert node is not None
        with TemporaryDirectory(prefix="azurite-") as scratch:
            command = [node, str(program), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
            command += ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
            command += ["--location", str(directory)] if directory else ["--inMemoryPersistence"]
            ca_file = None
            if tls:
                options, ca_file = _certificate(Path(scratch))
                command += options
            process = subprocess.Popen(
                command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            try:
                yield cls(process, _ready(process, tls), ca_file)
            finally:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()

    def stop(self) -> None:
        """In order: what it keeps in a directory is written, which a kill would lose. Its socket refuses from then on."""
        self.process.terminate()
        self.process.wait()

    def freeze(self) -> None:
        """It takes connections and bytes, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def _ready(process: subprocess.Popen[str], tls: bool) -> str:
    """Its address, read from its own output."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if _READY in line:
            address = line.partition(_READY)[2].strip()
            return address.replace("127.0.0.1", "localhost") if tls else address
    raise Unavailable(f"azurite did not start: {''.join(said)[-500:]}")


def _certificate(directory: Path) -> tuple[list[str], str]:
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1")
    key, certificate, authority = directory / "key.pem", directory / "cert.pem", directory / "ca.pem"
    issued.private_key_pem.write_to_path(str(key))
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    ca.cert_pem.write_to_path(str(authority))
    return ["--cert", str(certificate), "--key", str(key), "--oauth", "basic"], str(authority)


def main(arguments: Sequence[str]) -> int:
    """`python -m tests.wire azurite`."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire azurite", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--directory", type=Path, help="where it keeps its data; without it, in memory")
    options = parser.parse_args(arguments)
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))  # on its way out it ends the emulator, however far that had come
    with Azurite.started(directory=options.directory, port=options.port) as azurite:
        print(json.dumps({"connection_string": azurite.connection_string, "port": azurite.port}), flush=True)
        return azurite.process.wait()
