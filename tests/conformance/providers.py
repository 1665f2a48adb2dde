"""The suite of providers: every provider file beside its double, in each configuration and for each type of object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec

import pytest

from syncd.adapters.providers import _template, load_providers
from syncd.domain.jsontypes import JsonObject
from syncd.ports.api import Api
from syncd.ports.provider import Fetch, Kind, Provider, Record, RecordPage, Records
from tests.doubles.client import connected
from tests.doubles.contract import ProviderDouble

#: The template is no provider, but what is copied must work.
PROVIDERS = {**load_providers(), _template.PROVIDER.name: _template.PROVIDER}
KEY = "0123456789abcdef0123456789abcdef"
#: Pages that any list of this suite may take; more is a circle.
_MOST_PAGES = 40


def doubles_of(name: str) -> Mapping[str, Callable[[], ProviderDouble]]:
    module = f"tests.doubles.{name.replace('-', '_')}"
    return getattr(import_module(module), "DOUBLES", {}) if find_spec(module) else {}


def _cases() -> Iterator[tuple[str, str, Kind]]:
    for name, provider in PROVIDERS.items():
        for variant, make in doubles_of(name).items() if provider.records else ():
            double = make()
            double.url = "http://127.0.0.1:9"  # nobody is asked for what it declares
            kinds = provider.records.kinds(double.settings()) if provider.records else {}
            yield from ((name, variant, kinds[kind]) for kind in double.kinds)


#: (provider, configuration of its double, type of object).
CASES = tuple(_cases())


def each_kind(*, that: Callable[[Kind], bool] = lambda kind: True) -> pytest.MarkDecorator:
    """The test takes `bench`, and is tried with every type of object that can do what the test is about."""
    cases = [
        pytest.param(name, variant, kind.name, id=f"{name}-{variant}-{kind.name}")
        for name, variant, kind in CASES
        if that(kind)
    ]
    assert cases, "no provider can do it, so the test would try nothing"
    return pytest.mark.parametrize(("name", "variant", "kind"), cases)


class Bench:
    """A provider's records beside its double."""

    def __init__(self, provider: Provider, double: ProviderDouble, api: Api, kind: str) -> None:
        assert provider.records is not None
        self.provider, self.double, self.api = provider, double, api
        self.records: Records = provider.records
        self.kind = self.records.kinds(api.account.settings)[kind]

    async def pages(self, since: float | None = None) -> list[RecordPage]:
        found: list[RecordPage] = []
        cursor = None
        for _ in range(_MOST_PAGES):
            fetch = Fetch(kind=self.kind.name, since=since, cursor=cursor, limit=self.double.page_size)
            found.append(await self.records.fetch(self.api, fetch))
            cursor = found[-1].next
            if cursor is None:
                return found
        raise AssertionError(f"the list did not end within {_MOST_PAGES} pages")

    async def all(self, since: float | None = None) -> list[Record]:
        pages = await self.pages(since)
        assert not [one for page in pages for one in page.unreadable]
        return [record for page in pages for record in page.records]

    async def read(self, external_id: str) -> Record:
        found = await self.records.read(self.api, self.kind.name, external_id)
        assert found is not None
        return found

    def put(self, count: int = 1) -> list[str]:
        return [self.double.put(self.kind.name, number) for number in range(1, count + 1)]

    def content(self, record: Record) -> JsonObject:
        return self.kind.fields.of(record.data)


@asynccontextmanager
async def opened(name: str, variant: str, kind: str) -> AsyncIterator[Bench]:
    double = doubles_of(name)[variant]()
    async with connected(PROVIDERS[name], double) as api:
        yield Bench(PROVIDERS[name], double, api, kind)
