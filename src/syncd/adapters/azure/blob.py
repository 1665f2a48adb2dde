"""Blob Storage as the blobs: block blobs of one container.

A put appears whole or not at all: up to one block is one request (Put Blob), more are blocks that nobody sees until their list is
committed. Blocks that were never committed are dropped by the service after a week.

What the service keeps less well than a file system:

- A reader is served in ranges of `RANGE` bytes. One whose blob is replaced or deleted before it has come to the end gets Conflict or
  NotFound in the middle; every range names the version that was opened, so that it never gets a mixture.
- Two puts of one name that both are longer than a block undo each other's blocks: one of them is refused (Overloaded).
- With soft delete or versions switched on at the account, what was deleted or replaced stays there for as long as that says.
- Accounts with a hierarchical namespace list by directory, which is another order than that of the names: use a flat one.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobProperties, BlobType
from azure.storage.blob.aio import BlobClient, ContainerClient

from syncd.adapters.azure.blobaccount import BLOCK, account_client, check_container
from syncd.adapters.azure.calls import Calls
from syncd.adapters.azure.identity import Credential
from syncd.domain.errors import Invalid, NotFound, Overloaded, SyncdError
from syncd.domain.secrets import Secret
from syncd.domain.storednames import blob_name
from syncd.ports.blobs import BlobInfo
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe

Result = TypeVar("Result")
# `list` is a method below.
Blocks = list[BlobBlock]
Missing = list[str]

#: Seconds for one request: 4 MiB take less at 2 Mbit/s.
TIMEOUT = 30.0
#: Seconds for all the ranges of one `get`.
GET_TIMEOUT = 120.0
#: Seconds until a put that another one undid is worth another try.
RACE_WAIT = 1.0
#: "being deleted" lasts at least 30 s. https://learn.microsoft.com/rest/api/storageservices/delete-container
DELETED_WAIT = 30.0
_RIGHT = "the role 'Storage Blob Data Contributor' on the container"


@asynccontextmanager
async def open_blob_storage(
    *,
    container: str,
    clock: Clock,
    observe: Observe,
    connection_string: Secret | None = None,
    account_url: str | None = None,
    account_key: Secret | None = None,
    credential: Credential | None = None,
    ca_file: str | None = None,
    timeout: float = TIMEOUT,
    page: int = 5000,
) -> AsyncIterator[BlobStorage]:
    """By connection string, or by account (`https://<name>.blob.core.windows.net`) with its key or our identity. Nothing is asked
    yet, so that a start during an outage goes on; the container is made by the first put where it is missing. `timeout`: seconds
    for each request. `page`: blobs of one request when they are listed; the service gives no more than 5,000. Raises Invalid for what can be no account."""

    def told(*, operation: str, outcome: str, duration: float) -> None:
        observe("blob_call", operation=operation, outcome=outcome, duration=duration)

    check_container(container)
    service = account_client(connection_string, account_url, account_key, credential, ca_file, timeout)
    where = f"Blob Storage {service.url.rstrip('/')}/{container}"
    calls = Calls(where, credential=credential, clock=clock, told=told, timeout=timeout)
    try:
        yield BlobStorage(container=service.get_container_client(container), calls=calls, page=page)
    finally:
        await service.close()


class BlobStorage:
    """Implements the port `Blobs`."""

    def __init__(self, *, container: ContainerClient, calls: Calls, page: int) -> None:
        self._container = container
        self._page = page
        self._calls = calls

    async def put(self, name: str, data: bytes | AsyncIterable[bytes]) -> int:
        blob = self._blob(name)
        if isinstance(data, bytes):
            data = _whole(data)
        label = secrets.token_hex(8)  # of this put: blocks of two puts of one name lie in one place
        size, blocks, held = 0, 0, bytearray()
        async for piece in data:
            size += len(piece)
            held += piece
            while len(held) > BLOCK:
                block = bytes(held[:BLOCK])
                del held[:BLOCK]
                await self._stage(blob, name, _block_id(label, blocks), block)
                blocks += 1
        if not blocks:
            await self._upload(blob, name, bytes(held))
            return size
        if held:
            await self._stage(blob, name, _block_id(label, blocks), bytes(held))
            blocks += 1
        await self._commit(blob, name, [BlobBlock(block_id=_block_id(label, number)) for number in range(blocks)])
        return size

    async def get(self, name: str, *, at_most: int = 64 * 1024 * 1024) -> bytes:
        blob = self._blob(name)
        async with self._calls("get", f"reading the blob {name}", right=_RIGHT, timeout=GET_TIMEOUT):
            try:
                stream = await blob.download_blob()
                if stream.size > at_most:
                    raise Invalid(
                        f"the blob {name!r} has {stream.size} bytes, more than the {at_most} asked for: stream it"
                    )
                return await stream.readall()
            except ResourceNotFoundError as error:
                raise _missing(name) from error

    def open(self, name: str, *, chunk: int = 1024 * 1024) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._opened(name, chunk)

    async def delete(self, name: str) -> bool:
        blob = self._blob(name)
        async with self._calls("delete", f"deleting the blob {name}", right=_RIGHT):
            try:
                await blob.delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                return False
        return True

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        found = self._container.list_blobs(name_starts_with=prefix or None, results_per_page=self._page)
        pages = found.by_page()
        more = True
        while more:
            async with self._calls("list", f"listing the blobs {prefix}*", right=_RIGHT):
                try:
                    page = [_listed(one) async for one in await anext(pages)]
                except ResourceNotFoundError:  # no container, and so no blobs
                    return
                more = bool(getattr(pages, "continuation_token", None))  # of the SDK's class, whose type is not told
            for info in page:
                yield info

    async def check(self, *, create: bool = False) -> Missing:
        """For `syncd check`: what is missing; empty where all is well. The container is looked for, and made where that is asked; a
        blob of its own is written, read, listed and deleted."""
        name = f"syncd-check/{secrets.token_hex(8)}"
        try:
            if not await self._has_container():
                if not create:
                    container = self._container.container_name
                    return [
                        f"the container {container} is missing: the first put makes it, or az storage container create -n {container}"
                    ]
                async with self._calls("create", "making the container", right=_RIGHT):
                    await self._make_container()
            await self.put(name, b"syncd check")
            await self.get(name)
            async for _ in self.list(name):
                break
            await self.delete(name)
        except SyncdError as error:
            return [str(error)]
        return []

    async def _has_container(self) -> bool:
        async with self._calls("check", "looking for the container", right=_RIGHT):
            try:
                await self._container.get_container_properties()
            except ResourceNotFoundError:
                return False
        return True

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(blob_name(name))

    async def _upload(self, blob: BlobClient, name: str, data: bytes) -> None:
        await self._write(
            "put", name, lambda: blob.upload_blob(data, blob_type=BlobType.BLOCKBLOB, length=len(data), overwrite=True)
        )

    async def _stage(self, blob: BlobClient, name: str, block_id: str, data: bytes) -> None:
        await self._write("put_block", name, lambda: blob.stage_block(block_id, data, length=len(data)))

    async def _commit(self, blob: BlobClient, name: str, blocks: Blocks) -> None:
        try:
            await self._write("commit", name, lambda: blob.commit_block_list(blocks))
        except SyncdError as error:
            if _code(error.__cause__) == "InvalidBlockList":
                text = f"the blob {name!r} was written by another at the same time, which dropped our blocks"
                raise Overloaded(text, retry_after=RACE_WAIT) from error
            raise

    async def _write(self, operation: str, name: str, send: Callable[[], Awaitable[Result]]) -> Result:
        async with self._calls(operation, f"writing the blob {name}", right=_RIGHT):
            try:
                return await send()
            except ResourceNotFoundError as error:
                if _code(error) != "ContainerNotFound":
                    raise
                await self._make_container()
                return await send()

    async def _make_container(self) -> None:
        try:
            await self._container.create_container()
        except ResourceExistsError as error:
            if _code(error) == "ContainerBeingDeleted":
                text = f"the container {self._container.container_name} is being deleted"
                raise Overloaded(text, retry_after=DELETED_WAIT) from error

    @asynccontextmanager
    async def _opened(self, name: str, chunk: int) -> AsyncIterator[AsyncIterator[bytes]]:
        blob = self._blob(name)
        async with self._calls("open", f"reading the blob {name}", right=_RIGHT):
            try:
                stream = await blob.download_blob()
            except ResourceNotFoundError as error:
                raise _missing(name) from error

        async def pieces() -> AsyncIterator[bytes]:
            while True:
                async with self._calls("read", f"reading the blob {name}", right=_RIGHT, timeout=0):
                    piece = await stream.read(chunk)
                if not piece:
                    return
                yield piece

        yield pieces()


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), BLOCK):
        yield data[begin : begin + BLOCK]


def _listed(one: BlobProperties) -> BlobInfo:
    return BlobInfo(one.name, one.size, one.last_modified.timestamp())


def _block_id(label: str, number: int) -> str:
    """All of one blob have one length, as the service demands; at most 50,000 of them."""
    return b64encode(f"{label}-{number:05d}".encode()).decode()


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no blob {name!r}")


def _code(error: BaseException | None) -> str:
    code = getattr(error, "error_code", "") if isinstance(error, HttpResponseError) else ""
    return str(getattr(code, "value", code))
