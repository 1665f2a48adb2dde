"""Two systems and our own users edit the same contacts at random; what is told of it comes late, twice, and in any order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from syncd.flows.parked import Filter
from syncd.ports.queue import Delivery, Message
from syncd.settings import Settings
from tests.doubles.contract import Fault, JsonObject
from tests.integration.syncing.systems import Telling, shared, telling, webhook
from tests.integration.syncing.world import QUEUES, TENANT, World, at_start, opened

FIELDS = ("name", "mail", "größe")


@dataclass
class Simulation:
    world: World
    systems: dict[str, Telling]
    draw: random.Random
    faults: bool
    changes: int = 0
    """Made by somebody: there, or by our own users."""
    waiting: list[Message] = field(default_factory=list)
    """Webhooks on their way."""
    done: Counter[str] = field(default_factory=Counter)

    async def step(self) -> None:
        action = self.draw.choices(
            (self.there, self.here, self.deliver, self.process, self.pull, self.fault),
            (6, 3, 8, 8, 1, 2 if self.faults else 0),
        )[0]
        self.done[action.__name__] += 1
        await action()
        await self.world.clock.advance(self.draw.choice((0.0, 0.2, 0.7, 1.5, 30.0)))
        self.collect()

    # -- what happens --

    async def there(self) -> None:
        double = self.draw.choice(list(self.systems.values()))
        ids = double.ids("contact")
        kind = self.draw.choices(("create", "edit", "remove"), (2, 8 if ids else 0, 1 if ids else 0))[0]
        self.changes += 1
        if kind == "create":
            double.put("contact", self.draw.randrange(10**6))
        elif kind == "edit":
            double.edit("contact", self.draw.choice(ids), self.content())
        else:
            double.remove("contact", self.draw.choice(ids))

    async def here(self) -> None:
        found = await self.world.entities()
        kind = self.draw.choices(("create", "edit", "remove"), (2, 8 if found else 0, 1 if found else 0))[0]
        entities = self.world.flows.entities
        self.changes += 1
        if kind == "create":
            await entities.create(TENANT, "contact", {"name": "", **self.content()})
            return
        entity = self.draw.choice(found)
        if kind == "edit":
            await entities.edit(TENANT, "contact", entity.id, {**entity.data["data"], **self.content()})
        else:
            await entities.remove(TENANT, "contact", entity.id)

    def content(self) -> JsonObject:
        names = self.draw.sample(FIELDS, self.draw.randint(1, len(FIELDS)))
        return {name: f"{name} {self.draw.randrange(10**6)}" for name in names}

    def collect(self) -> None:
        """What the systems have sent by now; some of it twice."""
        for name, double in self.systems.items():
            for body in double.told:
                message = webhook(name, body, f"{self.draw.getrandbits(64):x}", self.world.clock.now())
                self.waiting += [message] * self.draw.choice((1, 1, 2))
            double.told.clear()

    async def deliver(self) -> None:
        self.draw.shuffle(self.waiting)
        sent = [self.waiting.pop() for _ in range(min(len(self.waiting), self.draw.randint(1, 4)))]
        if sent:
            await self.world.ports.queue.send("sync-outbound", sent)

    async def process(self) -> None:
        """Some of what is due, at once and in any order; now and then with its next hop beside it."""
        found: list[Delivery] = []
        for queue in QUEUES:
            found += await self.world.ports.queue.lease(queue, self.draw.randint(1, 6), duration=60.0)
        self.draw.shuffle(found)
        twice = [one for one in found if self.draw.random() < 0.1]
        if twice:
            again = [Message(one.envelope.next_hop(), one.body) for one in twice]
            await self.world.ports.queue.send(twice[0].queue, again)
        await self.world.execute(*found)

    async def pull(self) -> None:
        await self.world.task(self.draw.choice(list(self.systems)), full=self.draw.random() < 0.3)
        await self.world.plan.queue_due()

    async def fault(self) -> None:
        double = self.draw.choice(list(self.systems.values()))
        if not double.faults:
            # Who refuses for now has done nothing; any other answer, and none, may hide that it was done.
            refusal = Fault(status=self.draw.choice((429, 503)), headers={"Retry-After": "2"})
            lost = Fault(status=500, when="after", cut=self.draw.random() < 0.3)
            double.faults.append(self.draw.choice((refusal, lost, Fault(status=500), Fault(cut=True))))

    # -- the end --

    async def settle(self) -> None:
        """Everything is delivered and worked on; then each system is read once more, as the schedule would."""
        for double in self.systems.values():
            double.faults.clear()
        for _ in range(6):
            self.collect()
            self.draw.shuffle(self.waiting)
            if self.waiting:
                await self.world.ports.queue.send("sync-outbound", self.waiting)
                self.waiting = []
            await self.world.work(patience=7200)
            await self.world.clock.advance(150)
            if not (await self.world.remind()) + (await self.world.plan.revive()) and not any(
                double.told for double in self.systems.values()
            ):
                break
        await self.read()
        self.collect()
        self.draw.shuffle(self.waiting)
        await self.world.ports.queue.send("sync-outbound", self.waiting)
        self.waiting = []
        await self.world.work(patience=7200)

    async def read(self) -> None:
        for name in self.systems:
            await self.world.clock.advance(120)
            await self.world.pull(name, full=True)

    async def check(self) -> None:
        """Both systems and the entities agree on all that both can be told, and nothing is left to do."""
        entities = await self.world.entities()
        for name, double in self.systems.items():
            live = double.live()
            ours = {one.data["externalIds"].get(name): shared(one.data["data"]) for one in entities}
            assert ours == {one: shared(content) for one, content in live.items()}, name
        for one in entities:
            assert "dirtySince" not in one.data, one.data
            assert not any("held" in link for link in one.data["links"].values()), one.data
        parked = (await self.world.flows.parked.list(Filter(), limit=1000)).items
        assert {one.data["reason"].partition(": it is not there")[1] for one in parked} <= {": it is not there"}, parked
        before = self.ours
        await self.read()
        assert self.ours == before, "a quiet world stays quiet"

    @property
    def ours(self) -> int:
        return sum(double.ours for double in self.systems.values())


async def simulate(
    directory: Path, *, seed: int, manners: tuple[str, str], rule: str, steps: int, faults: bool, bound: float = 2.0
) -> Simulation:
    """Ends with an AssertionError unless all agree. `bound`: writes of ours for each change that somebody made."""
    clock = at_start()
    first, second = (telling(manner, clock) for manner in manners)
    draw = random.Random(seed)
    async with first.serving(), second.serving(), opened(directory, clock, adjust=_unguarded) as world:
        await world.connect("crm", first, conflict=rule)
        await world.connect("mail", second, conflict=rule)
        simulation = Simulation(world, {"crm": first, "mail": second}, draw, faults)
        for _ in range(steps):
            await simulation.step()
        await simulation.settle()
        await simulation.check()
        assert simulation.ours <= bound * simulation.changes
    return simulation


def _unguarded(settings: Settings) -> Settings:
    """Nobody guards deletions here: they are meant."""
    return settings.model_copy(update={"sync": settings.sync.model_copy(update={"delete_guard_records": 10**6})})
