"""What goes wrong at a provider, and what every provider file makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncd.domain.errors import (
    AuthenticationFailed,
    Conflict,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
)
from syncd.ports.provider import Fetch
from tests.conformance.providers import KEY, Bench, each_kind
from tests.doubles.contract import Fault


def _label(fault: Fault) -> str:
    return "cut" if fault.cut else f"{fault.status}{'-' + fault.body[:12].decode('latin-1') if fault.body else ''}"


_ERRORS = [
    (Fault(status=400, body=b'{"message": "no"}'), Rejected),
    (Fault(status=401), AuthenticationFailed),
    (Fault(status=403, body=b'{"message": "no"}'), Rejected),
    (Fault(status=422), Rejected),
    (Fault(status=429), Throttled),
    (Fault(status=429, headers={"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}), Throttled),
    (Fault(status=503, headers={"Retry-After": "7"}), Throttled),
    (Fault(status=500), ServerFault),
    (Fault(status=502, body=b"<html>Bad gateway</html>"), ServerFault),
    (Fault(status=302, headers={"Location": "https://elsewhere.example/"}), Rejected),
    (Fault(cut=True), ServerFault),
    (Fault(status=200, body=b"<html>Please log in</html>"), ServerFault),
    (Fault(status=200, body=b'{"error": "the database is away"}'), ServerFault),
    (Fault(status=200, body=b'"a text"'), ServerFault),
    (Fault(status=200, body=b"[" * 5000), ServerFault),
    (Fault(status=200, body=b'\xff\xfe{"data": []}'), ServerFault),
]


@pytest.mark.parametrize(("fault", "expected"), _ERRORS, ids=lambda one: getattr(one, "__name__", None) or _label(one))
@each_kind()
async def test_each_thing_that_goes_wrong_while_reading_is_its_own_error(
    bench: Bench, fault: Fault, expected: type[SyncdError]
) -> None:
    [made] = bench.put()
    # The HTTP library itself asks once more on a connection that was used before and is cut: for reading that is right.
    times = 2 if fault.cut else 1
    bench.double.faults.extend([fault] * times)
    with pytest.raises(expected):
        await bench.records.fetch(bench.api, Fetch(kind=bench.kind.name))
    bench.double.faults.clear()
    bench.double.faults.extend([fault] * times)
    with pytest.raises(expected):
        await bench.records.read(bench.api, bench.kind.name, made)
    bench.double.faults.clear()
    assert [record.external_id for record in await bench.all()] == [made], "the next request is as if nothing had been"


@pytest.mark.parametrize(("fault", "expected"), _ERRORS, ids=lambda one: getattr(one, "__name__", None) or _label(one))
@each_kind(that=lambda kind: kind.creates != "none" or kind.updates)
async def test_each_thing_that_goes_wrong_while_writing_is_its_own_error(
    bench: Bench, fault: Fault, expected: type[SyncdError]
) -> None:
    kind, double = bench.kind, bench.double
    content, fault = double.sample(kind.name, 1), replace(fault, writes=True)
    if kind.creates != "none":
        double.faults.append(fault)
        with pytest.raises(expected):
            await bench.records.create(bench.api, kind.name, content, key=KEY)
        assert double.ids(kind.name) == []
    if kind.updates:
        [made] = bench.put()
        changes = double.change(kind.name, 1)
        double.faults.append(fault)
        with pytest.raises(expected):
            await bench.records.update(bench.api, kind.name, made, changes, whole={**content, **changes}, version=None)
        assert double.held(kind.name, made) == content


@each_kind(that=lambda kind: kind.updates)
async def test_a_conflict_that_the_provider_reports_is_one(bench: Bench) -> None:
    [made] = bench.put()
    changes = bench.double.change(bench.kind.name, 1)
    for status in (409, 412):
        bench.double.faults.append(Fault(status=status, writes=True))
        with pytest.raises(Conflict):
            await bench.records.update(bench.api, bench.kind.name, made, changes, whole=changes, version=None)


@each_kind(that=lambda kind: kind.deletes)
async def test_an_id_that_leads_elsewhere_reaches_no_other_object(bench: Bench) -> None:
    made = bench.put(2)
    for hostile in (
        "..",
        "../..",
        ".",
        "",
        "%2e%2e",
        f"{made[0]}/../{made[1]}",
        f"{made[0]}?x=1",
        f"{made[0]}#x",
        "a\nb",
        "x" * 600,
    ):
        try:
            await bench.records.delete(bench.api, bench.kind.name, hostile, version=None)
        except SyncdError:
            continue
    assert sorted(bench.double.ids(bench.kind.name)) == sorted(made)
