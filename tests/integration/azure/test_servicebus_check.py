"""What `syncd check` says of a namespace, and what `--create` makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from syncd.adapters.azure.servicebus.checking import EntityReport, check_entities
from syncd.domain.errors import Invalid, Unavailable
from tests.wire.servicebus import QueueSpec, service_bus
from tests.wire.servicebus.administration import Administration, administration

GOOD = QueueSpec(name="good", duplicate_detection=600.0, ttl=14 * 86_400.0)


@pytest.fixture
async def admin(request: pytest.FixtureRequest) -> AsyncIterator[Administration]:
    async with service_bus(queues=getattr(request, "param", [GOOD])) as double, administration(double) as admin:
        yield admin


async def check(admin: Administration, *entities: str, create: bool = False) -> list[EntityReport]:
    return await check_entities(
        entities=entities, connection_string=admin.connection_string, ca_file=admin.ca_file, create=create
    )


async def test_an_entity_that_keeps_every_promise_is_shown_with_its_settings(admin: Administration) -> None:
    [report] = await check(admin, "good")
    assert (report.problems, report.notes, report.fix) == ((), (), "")
    assert report.settings == "lock 1 min, 10 deliveries, lives 14 d, then dead-lettered, 1024 MB, duplicates 10 min"


@pytest.mark.parametrize(
    ("admin", "problem", "change"),
    [
        (
            [QueueSpec(name="q", ttl=3600.0, dead_letter_on_expiration=False)],
            "what waits longer than 1 h is thrown away unseen",
            "--enable-dead-lettering-on-message-expiration true",
        ),
        (
            [QueueSpec(name="q", max_delivery_count=3)],
            "after 3 deliveries the broker takes a message away before syncd can say why",
            "--max-delivery-count 10",
        ),
        ([QueueSpec(name="q", enabled=False)], "it is Disabled", "--status Active"),
    ],
    indirect=["admin"],
)
async def test_a_setting_that_breaks_a_promise_is_named_with_the_command_that_mends_it(
    admin: Administration, problem: str, change: str
) -> None:
    [report] = await check(admin, "q")
    assert report.problems == (problem,)
    assert report.fix.startswith("az servicebus queue update --resource-group GROUP --namespace-name ")
    assert report.fix.endswith(f"--name q {change}")


@pytest.mark.parametrize(
    "admin", [[QueueSpec(name="q", lock_duration=10.0, ttl=86_400.0, requires_session=True)]], indirect=True
)
async def test_what_is_served_all_the_same_is_noted(admin: Administration) -> None:
    [report] = await check(admin, "q")
    assert report.problems == ()
    said = " ".join(report.notes)
    for word in ("parked as expired", "a lock of 10 s", "no duplicate detection", "sessions are served"):
        assert word in said


async def test_what_is_missing_is_named_and_made_with_all_its_lanes(admin: Administration) -> None:
    [report] = await check(admin, "sync-inbound")
    assert report.problems == ("it does not exist",)
    assert report.fix.startswith("syncd check --create, or: az servicebus queue create ")
    made = await check(admin, "sync-inbound", create=True)
    assert [one.name for one in made] == ["sync-inbound-high", "sync-inbound", "sync-inbound-low"]
    assert all(one.problems == () and one.notes == () for one in made)
    assert await check(admin, "sync-inbound") == made


async def test_without_the_right_to_manage_nothing_is_guessed(admin: Administration) -> None:
    with pytest.raises(Unavailable, match="administration of Service Bus"):
        await check_entities(
            entities=["good"], connection_string=admin.connection_string_for("listen"), ca_file=admin.ca_file
        )


@pytest.mark.parametrize("given", [{}, {"namespace": "ns.servicebus.windows.net"}])
async def test_no_namespace_or_no_identity_is_refused(given: dict[str, str]) -> None:
    entities: Sequence[str] = ["q"]
    with pytest.raises(Invalid):
        await check_entities(entities=entities, **given)  # type: ignore[arg-type]  # parameters by name
