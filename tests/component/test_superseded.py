"""Dead letters about incidents are sent again only if these were not reported since."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from relay.admin.operations import DaemonHooks, LocalOperations
from relay.core.exchange import Dead, Reason
from relay.core.include import Included
from relay.core.notification import Notification
from relay.incidents.incidents import EngineClocks, Incidents
from relay.incidents.message import Message
from relay.incidents.rows import decode_rows, encode_changes
from relay.incidents.state import Changes, Rows
from relay.store.outbox import Outbox
from relay.store.records import Ack, IngestCommit, Selection
from tests.component.admin_samples import ALL, DAEMON_STATUS, DESTINATION_STATUS
from tests.unit.incidents.events import die, ns, start
from tests.unit.incidents.world import World
from tests.unit.store.samples import make_notification

Prepare = Callable[[World], Any]


class Case:
    """A store with the rows of a world, and a relay that may run on it."""

    def __init__(self, outbox: Outbox, world: World, *, is_running: bool) -> None:
        self.outbox, self.world, self.is_running = outbox, world, is_running
        self.incidents: Incidents | None = None

    async def bury(self, *notifications: Notification, to: str = "ops") -> None:
        """Make dead letters."""
        for notification in notifications:
            batch = IngestCommit("here", None, [(notification, [to])])
            result = await self.outbox.commit(batch, 10)
            found = (await self.outbox.fetch_due(to, 20, 100)).deliveries
            (delivery,) = (each for each in found if each.seq == result.seqs[0][0])
            await self.outbox.ack([Ack(delivery, Dead(Reason.REFUSED), None)], 20, flush=True)

    async def operations(self) -> LocalOperations:
        """The operations, by a running relay or without one."""
        rows = self.world.dispatcher.export()
        await self.outbox.save_incident_rows(encode_changes(Changes(rows)))
        now_ns = self.world.now.steady_ns
        hooks = None
        if self.is_running:
            clocks = EngineClocks(lambda: now_ns, lambda: now_ns)
            setup = self.world.setup
            self.incidents = Incidents(rows, setup.policies, setup.router, clocks)
            hooks = DaemonHooks(
                lambda: DESTINATION_STATUS, bool, lambda: DAEMON_STATUS, _reload, self.incidents
            )
        return LocalOperations(self.outbox, lambda: ["ops"], lambda: now_ns, hooks)

    async def rows(self) -> Rows:
        """The rows as they are now."""
        if self.incidents is not None:
            return self.incidents.export()
        return decode_rows(await self.outbox.incident_rows())


async def _reload() -> list[str]:
    return []


@pytest.fixture(params=[False, True], ids=["without relay", "relay runs"])
def make_case(request: pytest.FixtureRequest, outbox: Outbox) -> Callable[[World], Case]:
    return lambda world: Case(outbox, world, is_running=request.param)


def refuse(world: World) -> Message:
    """The destination refuses the message."""
    world.broken.add("ops")
    world.run(world.t + 10)
    (message,) = world.waiting
    world.give_up(message, refused=True)
    world.broken.clear()
    return message


async def test_nothing_was_reported_since(make_case: Callable[[World], Case]) -> None:
    """It is a delivery again, and the next message about its incident no longer reports it as
    new."""
    world = World().play([die(0)], 1)
    message = refuse(world)
    case = make_case(world)
    await case.bury(message.to_notification())
    operations = await case.operations()
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.superseded) == (1, 0)
    (incident,) = (await case.rows()).incidents
    assert (incident.waiting, incident.was_refused) == (message.id, False)
    if case.incidents is not None:
        case.incidents.settled("ops", message.id, delivered=True)
        (incident,) = case.incidents.list_incidents()
        assert incident.waiting is None
        assert incident.named_ns == world.now.steady_ns


async def reported_again(world: World) -> Message:
    """An update is reported after the refusal."""
    message = refuse(world)
    world.take(start(20))
    world.run(200)
    return message


async def over(world: World) -> Message:
    """It is resolved, and that is not reported yet."""
    message = refuse(world)
    world.take(start(20))
    world.run(80.5)
    assert len(world.sent) == 1
    return message


async def forgotten(world: World) -> Message:
    """It was over more than an hour ago."""
    message = refuse(world)
    world.take(start(20))
    world.run(5000)
    assert not world.dispatcher.list_incidents()
    return message


@pytest.mark.parametrize("prepare", [reported_again, over, forgotten])
async def test_it_has_moved_on(make_case: Callable[[World], Case], prepare: Prepare) -> None:
    """It stays a dead letter; others are sent."""
    world = World().play([die(0)], 1)
    message = await prepare(world)
    case = make_case(world)
    plain = make_notification(2, container="db")
    await case.bury(message.to_notification(), plain)
    operations = await case.operations()
    before = await case.rows()
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.superseded, result.left) == (1, 1, {})
    (left,) = await operations.list_dead_letters(ALL, 10)
    assert left.notification.id == message.id
    assert (await operations.replay_dead_letters(ALL)).count == 0
    assert (await case.rows()).incidents == before.incidents


@pytest.mark.parametrize("has_another", [False, True])
async def test_the_end_of_a_forgotten_incident(
    make_case: Callable[[World], Case], has_another: bool
) -> None:
    """It is sent, so that nothing stays open at a service; not if there is another by now."""
    world = World().play([die(0), start(0.1)], 50)
    end = refuse_end(world)
    world.run(5000)
    assert not world.dispatcher.list_incidents()
    if has_another:
        world.take(die(5000))
    case = make_case(world)
    await case.bury(end.to_notification())
    operations = await case.operations()
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.superseded) == ((0, 1) if has_another else (1, 0))


def refuse_end(world: World) -> Message:
    """The destination refuses to be reported the end."""
    world.broken.add("ops")
    world.run(70)
    (message,) = world.waiting
    assert message.update.reason == "resolved"
    world.give_up(message, refused=True)
    world.broken.clear()
    return message


async def test_a_selection(make_case: Callable[[World], Case]) -> None:
    """Only those that are selected, and whose destination is configured, are counted."""
    world = World().play([die(0)], 1)
    message = await reported_again(world)
    case = make_case(world)
    await case.bury(message.to_notification())
    await case.bury(message.to_notification(), to="gone")
    operations = await case.operations()
    assert (await operations.replay_dead_letters(Selection(route="other"))).superseded == 0
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.superseded, result.left) == (0, 1, {"gone": 1})


async def test_many(make_case: Callable[[World], Case]) -> None:
    """More than one transaction and one page: all others are replayed."""
    world = World().play([die(0)], 1)
    message = await reported_again(world)
    case = make_case(world)
    plain = [make_notification(number, container=f"c{number}") for number in range(1, 1200)]
    await case.bury(message.to_notification())
    await bury_many(case.outbox, plain)
    operations = await case.operations()
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.superseded) == (1199, 1)
    assert await operations.count_dead_letters(ALL) == {"ops": 1}


async def bury_many(outbox: Outbox, notifications: list[Notification]) -> None:
    """Make dead letters, many in one transaction."""
    batch = IngestCommit("here", None, [(each, ["ops"]) for each in notifications])
    await outbox.commit(batch, 10)
    while (await outbox.expire("ops", ns(0), 20)).count:
        pass


async def test_what_looks_as_if_it_told_of_incidents(make_case: Callable[[World], Case]) -> None:
    """It is read, and replayed."""
    case = make_case(World())
    included = Included(inspect={"update": {"incidents": "[]"}})
    await case.bury(replace(make_notification(3), included=included))
    assert len(await case.outbox.dead_letters(Selection(about_incidents=True), 10)) == 1
    operations = await case.operations()
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.superseded) == (1, 0)
