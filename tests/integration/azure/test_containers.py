"""Container groups through the SDK: what is sent, what is read back, and every way of being refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.adapters.azure.containers import Registry
from syncd.adapters.azure.containerstate import group_info
from syncd.domain.errors import (
    Invalid,
    NotFound,
    Overloaded,
    Rejected,
    ServerFault,
    SyncdError,
    Throttled,
    TimedOut,
    Unavailable,
)
from syncd.domain.jsontypes import JsonObject
from syncd.domain.secrets import Secret
from tests.integration.azure.groups import Groups, opened, spec
from tests.wire.arm import RIGHTS, ArmDouble


@pytest.fixture
async def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Groups]:
    async with opened(tmp_path, monkeypatch) as world:
        yield world


async def test_the_life_of_a_group(groups: Groups) -> None:
    groups.arm.settling = 20.0
    containers = groups.containers
    created = await containers.create(spec(tags={"term": "3"}))
    assert (created.name, created.state, created.tags) == ("job-1", "creating", {"term": "3"})
    waiting = await containers.get("job-1")
    assert (waiting.state, waiting.reason) == ("creating", "pulling image")
    groups.arm.ahead += 21
    assert (await containers.get("job-1")).state == "running"
    assert [(one.name, one.state, one.tags) for one in await containers.list()] == [("job-1", None, {"term": "3"})]
    assert await containers.logs("job-1") == ""
    groups.arm.finish("job-1", 0, "one\ntwo\nthree\n")
    ended = await containers.get("job-1")
    assert (ended.state, ended.exit_code, ended.reason) == ("succeeded", 0, "Completed")
    assert await containers.logs("job-1", tail=2) == "two\nthree\n"
    groups.arm.settling = 0.0
    assert await containers.delete("job-1")
    assert not await containers.delete("job-1")
    assert await containers.list() == []


async def test_a_container_that_failed_says_how_often_it_was_run_again(groups: Groups) -> None:
    await groups.containers.create(spec())
    groups.arm.groups["job-1"].restarts = 2
    groups.arm.finish("job-1", 137)
    found = await groups.containers.get("job-1")
    assert (found.state, found.exit_code, found.restarts, found.reason) == ("failed", 137, 2, "Error")


async def test_what_is_sent(groups: Groups) -> None:
    registry = Registry(server="registry.example", username="u", password=Secret("canary-password"))
    async with groups.another(registry=registry) as containers:
        await containers.create(
            spec(
                memory_gb=1.51, command=["run", "--once"], environment={"A": "1"}, secrets={"B": Secret("canary-value")}
            )
        )
    [sent] = groups.arm.puts
    assert sent["location"] == "westeurope"
    properties = sent["properties"]
    assert (properties["osType"], properties["restartPolicy"]) == ("Linux", "Never")
    [login] = properties["imageRegistryCredentials"]
    assert login == {"server": "registry.example", "username": "u", "password": "canary-password"}
    [container] = properties["containers"]
    assert container["name"] == "job-1"
    inside = container["properties"]
    assert inside["resources"]["requests"] == {"cpu": 1.0, "memoryInGB": 1.6}
    assert inside["command"] == ["run", "--once"]
    assert inside["environmentVariables"] == [{"name": "A", "value": "1"}, {"name": "B", "secureValue": "canary-value"}]
    assert "canary" not in f"{groups.arm.groups['job-1'].document} {groups.seen.events}"


async def test_an_identity_pulls_images_without_a_password(groups: Groups) -> None:
    identity = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
    async with groups.another(registry=Registry(server="r.example", identity=identity)) as containers:
        await containers.create(spec())
    [sent] = groups.arm.puts
    assert sent["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    assert sent["properties"]["imageRegistryCredentials"] == [{"server": "r.example", "identity": identity}]


async def test_a_group_that_exists_is_not_run_again(groups: Groups) -> None:
    await groups.containers.create(spec(tags={"term": "1"}))
    groups.arm.finish("job-1", 0)
    again = await groups.containers.create(spec(tags={"term": "2"}))
    assert (again.state, again.tags) == ("succeeded", {"term": "1"})
    assert len(groups.arm.puts) == 1


async def test_a_create_whose_answer_is_lost_makes_one_group(groups: Groups) -> None:
    await groups.containers.list()
    groups.arm.faults.drop(after=True, method="PUT")
    await groups.containers.create(spec())
    assert list(groups.arm.groups) == ["job-1"]


async def test_more_groups_than_one_page_are_all_listed(groups: Groups) -> None:
    groups.arm.page = 3
    for number in range(8):
        await groups.containers.create(spec(f"job-{number}"))
    assert [one.name for one in await groups.containers.list()] == [f"job-{number}" for number in range(8)]


async def test_what_is_not_there_is_not_found(groups: Groups) -> None:
    with pytest.raises(NotFound, match="'job-9'"):
        await groups.containers.get("job-9")
    with pytest.raises(NotFound):
        await groups.containers.logs("job-9")
    assert not await groups.containers.delete("job-9")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a--b", "x" * 64, "a/b", "a\n"])
async def test_a_name_that_is_none_is_refused_by_every_method(groups: Groups, name: str) -> None:
    asked = len(groups.arm.faults.log)
    for call in (groups.containers.get, groups.containers.logs, groups.containers.delete):
        with pytest.raises(Invalid):
            await call(name)
    with pytest.raises(Invalid):
        await groups.containers.create(spec(name))
    assert len(groups.arm.faults.log) == asked


async def test_a_full_quota_is_a_matter_of_patience(groups: Groups) -> None:
    groups.arm.quota = 1
    await groups.containers.create(spec("job-1"))
    with pytest.raises(Throttled, match="quota '1' exceeded") as caught:
        await groups.containers.create(spec("job-2"))
    assert caught.value.retry_after == 60.0
    await groups.containers.delete("job-1")
    assert (await groups.containers.create(spec("job-2"))).name == "job-2"


async def test_too_many_creates_say_when_there_may_be_more(groups: Groups) -> None:
    groups.arm.creates = 2
    for number in range(2):
        await groups.containers.create(spec(f"job-{number}"))
    with pytest.raises(Throttled) as caught:
        await groups.containers.create(spec("job-2"))
    assert caught.value.retry_after
    assert 290 <= caught.value.retry_after <= 300
    groups.arm.ahead += caught.value.retry_after
    await groups.containers.create(spec("job-2"))


async def test_a_name_that_is_being_deleted_is_refused_for_a_while(groups: Groups) -> None:
    await groups.containers.create(spec())
    groups.arm.settling = 30.0
    assert await groups.containers.delete("job-1")
    groups.arm.faults.answer(404, method="GET", body={"error": {"code": "ResourceNotFound", "message": "not found"}})
    with pytest.raises(Overloaded, match="still transitioning"):
        await groups.containers.create(spec())
    groups.arm.ahead += 31
    assert (await groups.containers.create(spec())).name == "job-1"


@pytest.mark.parametrize("what", [{"cpu": 32.0}, {"memory_gb": 241.0}, {"cpu": 0.0}])
async def test_what_can_never_run_is_rejected(groups: Groups, what: dict[str, float]) -> None:
    with pytest.raises(Rejected):
        await groups.containers.create(spec(**what))


@pytest.mark.parametrize("right", sorted(RIGHTS))
async def test_a_right_that_is_missing_is_named(groups: Groups, right: str) -> None:
    await groups.containers.create(spec("there"))
    groups.arm.rights = RIGHTS - {right}

    async def use() -> None:
        await groups.containers.list()
        await groups.containers.create(spec("other"))
        await groups.containers.delete("there")

    with pytest.raises(
        Unavailable, match=r"403: \(AuthorizationFailed\).*needs the role 'Azure Container Instances Contributor"
    ):
        await use()
    groups.arm.rights = RIGHTS
    await use()


async def test_check_says_what_is_missing(groups: Groups) -> None:
    assert await groups.containers.check() == []
    groups.arm.rights = RIGHTS - {"delete"}
    [missing] = await groups.containers.check()
    assert "Azure Container Instances Contributor Role" in missing
    groups.arm.rights = RIGHTS
    async with groups.another(resource_group="another") as elsewhere:
        [missing] = await elsewhere.check()
        assert "Resource group 'another' could not be found" in missing
        with pytest.raises(NotFound, match="Resource group"):
            await elsewhere.get("job-1")
    async with groups.another(subscription_id="1234") as elsewhere:
        [missing] = await elsewhere.check()
        assert "'1234' could not be found" in missing


async def test_a_token_that_is_refused_in_mid_flight_is_replaced(groups: Groups) -> None:
    await groups.containers.list()
    groups.identity.revoke()
    with pytest.raises(Unavailable, match="401"):
        await groups.containers.list()
    assert await groups.containers.list() == []


@pytest.mark.parametrize(
    ("status", "expected"), [(500, ServerFault), (502, ServerFault), (503, ServerFault), (429, Throttled)]
)
async def test_a_fault_reaches_the_caller_without_asking_again(
    groups: Groups, status: int, expected: type[SyncdError]
) -> None:
    await groups.containers.list()
    before = len(groups.arm.faults.log)
    groups.arm.faults.always(status)
    with pytest.raises(expected):
        await groups.containers.list()
    assert len(groups.arm.faults.log) == before + 1
    groups.arm.faults.clear()
    assert await groups.containers.list() == []


async def test_broken_connections_silence_and_an_outage_at_the_start(groups: Groups, tmp_path: Path) -> None:
    groups.arm.faults.drop()
    assert await groups.containers.list() == []
    async with groups.another(timeout=0.2) as hasty, groups.arm.faults.silent():
        with pytest.raises(TimedOut, match="no answer in time"):
            await hasty.list()
    later = ArmDouble(groups.identity)
    async with later.serving():
        url, port = later.url, int(later.url.rpartition(":")[2])
    async with groups.another(base_url=url, ca_file=later.write_ca(tmp_path)) as containers:
        with pytest.raises(Unavailable):
            await containers.list()
        async with later.serving(port):
            assert (await containers.create(spec())).name == "job-1"


async def test_a_wrong_certificate_and_a_name_that_does_not_resolve(groups: Groups, tmp_path: Path) -> None:
    wrong = ArmDouble(groups.identity).write_ca(tmp_path)
    async with groups.another(ca_file=wrong) as containers:
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await containers.list()
    async with groups.another(base_url="https://arm-that-is-not.invalid") as containers:
        with pytest.raises(Unavailable, match=r"arm-that-is-not\.invalid"):
            await asyncio.wait_for(containers.list(), 30)


async def test_every_call_is_observed_with_its_outcome(groups: Groups) -> None:
    await groups.containers.create(spec())
    await groups.containers.list()
    told = [(facts["operation"], facts["outcome"]) for facts in groups.seen.of("container_call")]
    assert told == [("get", "not_found"), ("create", "ok"), ("list", "ok")]


STATES: list[tuple[dict[str, object], str | None]] = [
    ({}, None),
    ({"provisioningState": "Pending"}, "creating"),
    ({"provisioningState": "Succeeded"}, None),
    ({"provisioningState": "Succeeded", "instanceView": {"state": "Running"}}, "running"),
    ({"provisioningState": "Succeeded", "instanceView": {"state": "Stopped"}}, "failed"),
    ({"provisioningState": "Failed", "instanceView": {"state": "Running"}}, "failed"),
    ({"provisioningState": "Repairing", "instanceView": {"state": "of the future"}}, None),
    ({"provisioningState": 7, "instanceView": [], "containers": {}}, None),
]


@pytest.mark.parametrize(("properties", "state"), STATES)
def test_what_the_service_says_is_read_whatever_is_missing(properties: dict[str, object], state: str | None) -> None:
    document: JsonObject = {"name": "a", "properties": properties}
    found = group_info(document)
    assert (found.name, found.state, found.exit_code, found.restarts, found.reason) == ("a", state, None, 0, "")


async def test_a_deletion_that_has_to_wait_says_so(groups: Groups) -> None:
    await groups.containers.create(spec())
    busy = {"error": {"code": "ContainerGroupTransitioning", "message": "still transitioning"}}
    groups.arm.faults.answer(409, method="DELETE", body=busy)
    with pytest.raises(Overloaded, match="still transitioning") as caught:
        await groups.containers.delete("job-1")
    assert caught.value.retry_after == 10.0
    assert await groups.containers.delete("job-1")
