"""The loop of the incidents over a store, in virtual time."""

import asyncio
import io
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay.config import Config
from relay.core.counters import DestinationCounters
from relay.core.event import RELAY_ENGINE, Event
from relay.core.exchange import Dead, Delivered, Outcome, Reason
from relay.core.notification import Notification
from relay.core.tasks import spawn
from relay.core.zone import UTC_ZONE
from relay.daemon.incidents import IncidentLoop, load_incidents, settle_lost
from relay.delivery.client import ConsoleOutput, make_renderer
from relay.destinations.catalog import parse_config
from relay.incidents.incidents import EngineClocks, Incidents
from relay.routing.router import Router
from relay.store.outbox import Outbox
from relay.store.records import Ack, CommitResult, Delivery, IngestCommit, Quota
from relay.store.recovery import add_loss
from tests.support.virtual_time import open_step_outbox, run_in_virtual_time
from tests.unit.incidents.events import crash_loop, die, ns, start

CONFIG = """
engines: {here: {}}
destinations:
  ops: {type: slack, url: "https://hooks.slack.com/services/T0/B0/x"}
  pager: {type: pagerduty, routing_key: "0123456789abcdef0123456789abcdef"}
  alerts: {type: alertmanager, url: "https://alerts.example/"}
  audit: {type: http, url: "https://audit.example/"}
routes:
  - {name: died, match: {type: container, action: die, cause: [crashed, oom]}, to: TO}
"""


def make_config(*to: str) -> Config:
    """A configuration whose route sends crashes to these destinations."""
    text = CONFIG.replace("TO", f"[{', '.join(to)}]")
    return parse_config(text, file="test", environ={}, folder=Path())


class World:
    """relay's incidents, with their loop and the store; the rest of relay is the test."""

    def __init__(self, config: Config, outbox: Outbox) -> None:
        self.config = config
        self.outbox = outbox
        self.router = Router(config.routes)
        self.commits: list[tuple[float, IngestCommit]] = []
        self.refreshes: list[tuple[float, Sequence[str]]] = []
        self.incidents: Incidents

    @staticmethod
    def now_ns() -> int:
        """The virtual time, by all clocks."""
        return ns(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def running(self, config: Config | None = None) -> AsyncIterator[None]:
        """relay runs until the end; then it is killed."""
        clocks = EngineClocks(self.now_ns, self.now_ns)
        self.config = config or self.config
        self.router = Router(self.config.routes)
        self.incidents = await load_incidents(self.config, self.outbox, clocks)
        self.incidents.stream_opened("here", 0, is_local=True)
        self.incidents.caught_up("here")
        loop = IncidentLoop(
            self.incidents, self.outbox, self.now_ns, self._on_commit, self._on_refresh
        )
        task = spawn(loop.run(), "incidents")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _on_commit(self, commit: IngestCommit, _: CommitResult) -> None:
        self.commits.append((round(asyncio.get_running_loop().time(), 3), commit))

    def _on_refresh(self, destinations: Sequence[str]) -> None:
        self.refreshes.append((round(asyncio.get_running_loop().time(), 3), destinations))

    async def take(self, *events: Event) -> CommitResult:
        """A batch of events is committed."""
        immediate = self.incidents.take([(each, self.router.route(each)) for each in events])
        rows = self.incidents.take_changes()
        commit = IngestCommit("here", None, immediate, incident_rows=rows)
        return await self.outbox.commit(commit, self.now_ns())

    async def play(self, *events: Event) -> None:
        """Events are committed when they happen."""
        for each in events:
            await asyncio.sleep((each.time_ns - self.now_ns()) / 1e9)
            await self.take(each)

    async def due(self, destination: str) -> Sequence[Delivery]:
        """What the destination could be sent now."""
        return (await self.outbox.fetch_due(destination, self.now_ns(), 10)).deliveries

    async def answer(self, destination: str, outcome: Outcome) -> None:
        """The destination answers the first delivery."""
        (delivery, *_) = await self.due(destination)
        await self.outbox.ack([Ack(delivery, outcome)], self.now_ns(), flush=True)

    async def count(self, destination: str) -> int:
        """How many deliveries wait for the destination."""
        return (await self.outbox.pending())[destination]

    async def deliver_all(self, destination: str) -> tuple[list[Notification], list[str]]:
        """The destination takes all that it could be sent now; returns that, and its texts."""
        deliveries = await self.due(destination)
        texts = [self.render(destination, each.notification) for each in deliveries]
        await self.outbox.ack(
            [Ack(each, Delivered()) for each in deliveries], self.now_ns(), flush=True
        )
        for each in deliveries:
            self.incidents.settled(destination, each.notification.id, delivered=True)
        return [each.notification for each in deliveries], texts

    @staticmethod
    def groups(notifications: Sequence[Notification]) -> list[str]:
        """The group of each notification."""
        return [str(each.update and each.update.group) for each in notifications]

    def render(self, destination: str, notification: Notification) -> str:
        """What the destination is sent for a notification now."""
        model = self.config.destinations[destination]
        console = ConsoleOutput(io.BytesIO(), colour=False)
        counters, routes = DestinationCounters(), self.config.routes
        render = make_renderer(
            destination, model, routes, console, counters, self.now_ns, zone=UTC_ZONE
        )
        return render(notification).body.decode()

    def reported(self) -> list[tuple[float, str, int]]:
        """When something was reported, why, and for how many events."""
        return [
            (t, notification.update.reason.value, notification.count)
            for t, commit in self.commits
            for notification, _ in commit.notifications
            if notification.update is not None
        ]


Scenario = Callable[[World], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def run() -> Run:
    """Runs a scenario in virtual time, with a store whose transactions take a millisecond."""

    def run(scenario: Scenario, *to: str, quota: int = 2**30) -> None:
        async def play() -> None:
            async with open_step_outbox(lambda: 0.001, Quota(quota, "drop-oldest")) as (outbox, _):
                await scenario(World(make_config(*(to or ("ops",))), outbox))

        run_in_virtual_time(play())

    return run


def test_a_message_is_committed_when_it_is_due(run: Run) -> None:
    """Three seconds after a crash its message waits for the chat, with the group as its subject."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1, project="shop"))
            await asyncio.sleep(2.5)
            assert await world.due("ops") == []
            await asyncio.sleep(1)
            (delivery,) = await world.due("ops")
            assert delivery.notification.update is not None
            assert delivery.notification.update.group == {"engine": "here", "project": "shop"}
            assert world.reported() == [(3.101, "opened", 1)]
            assert world.commits[0][1].engine == RELAY_ENGINE

    run(scenario)


def test_a_kill_before_the_message_changes_nothing(run: Run) -> None:
    """The rows are committed with the event, so the message comes at its time all the same."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
        await asyncio.sleep(1)
        async with world.running():
            await asyncio.sleep(3)
        assert world.reported() == [(3.101, "opened", 1)]

    run(scenario)


def test_a_kill_after_the_message_reports_nothing_twice(run: Run) -> None:
    """Message and rows are one commit: what was committed is not reported again."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            await asyncio.sleep(3.5)
        async with world.running():
            await asyncio.sleep(30)
        assert world.reported() == [(3.101, "opened", 1)]
        assert len(await world.due("ops")) == 1

    run(scenario)


def test_one_message_of_a_group_waits_at_most(run: Run) -> None:
    """While a chat does not answer, what happens is gathered; the answer sets it free."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(*crash_loop(0.1, deaths=9))
            await asyncio.sleep(300)
            assert [reason for _, reason, _ in world.reported()] == ["opened"]
            (first,) = await world.due("ops")
            await world.answer("ops", Delivered())
            world.incidents.settled("ops", first.notification.id, delivered=True)
            await asyncio.sleep(1)
        assert world.reported()[0][2] + world.reported()[1][2] == 9

    run(scenario)


def test_a_chat_that_is_down_all_night(run: Run) -> None:
    """One message a group waits, which says when it was made; one newer may follow (A27)."""

    async def scenario(world: World) -> None:
        async with world.running():
            events = [*crash_loop(0), *crash_loop(10_000)]
            for number in range(5):
                stack, t = f"stack-{number}", 100.0 * (number + 1)
                events += [die(t, stack, project=stack), start(t + 1, stack, project=stack)]
            await world.play(*sorted(events, key=lambda event: event.time_ns))
            await asyncio.sleep((ns(28_800) - world.now_ns()) / 1e9)
            assert await world.count("audit") == 143
            late, late_texts = await world.deliver_all("ops")
            await asyncio.sleep(120)
            newer, newer_texts = await world.deliver_all("ops")
        assert len(late) == len(set(world.groups(late))) == 6
        assert len(newer) == len(set(world.groups(newer)))
        assert sum(each.count for each in (*late, *newer)) == 143
        assert all(" UTC, delayed) " in text for text in late_texts)
        assert "(08:00 UTC, delayed) " in late_texts[0]
        assert not any("delayed" in text for text in newer_texts)

    run(scenario, "ops", "audit")


@pytest.mark.parametrize(
    ("reason", "reported"), [(Reason.EXPIRED, ["opened", "opened"]), (Reason.REFUSED, ["opened"])]
)
def test_a_dead_letter_that_a_kill_hid(run: Run, reason: Reason, reported: list[str]) -> None:
    """A start finds the message among the dead letters: one that was only too old comes again."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            await asyncio.sleep(3.5)
        await world.answer("ops", Dead(reason))
        async with world.running():
            await asyncio.sleep(90)
        assert [each for _, each, _ in world.reported()] == reported

    run(scenario)


def test_an_answer_that_a_kill_hid(run: Run) -> None:
    """A message that the store no longer has was delivered, so the next one may follow."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1), start(0.2))
            await asyncio.sleep(3.5)
        await world.answer("ops", Delivered())
        async with world.running():
            await asyncio.sleep(90)
        assert [each for _, each, _ in world.reported()] == ["opened", "resolved"]

    run(scenario)


def _lose_deliveries(connection: sqlite3.Connection) -> None:
    """The store is damaged, and its new one has no deliveries."""
    connection.execute("DELETE FROM deliveries")
    add_loss(Path("relay.db.broken"), 0, "malformed", connection)


def test_a_message_that_a_damaged_store_has_lost(run: Run) -> None:
    """It is reported again, so that its group is not silent for ever; what still waits is not."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            await asyncio.sleep(3.5)
            await settle_lost(world.incidents, world.outbox)
            await asyncio.sleep(90)
            assert [each for _, each, _ in world.reported()] == ["opened"]
            await world.outbox._writer.run(_lose_deliveries)
            await settle_lost(world.incidents, world.outbox)
            await asyncio.sleep(90)
            assert [each for _, each, _ in world.reported()] == ["opened", "opened"]

    run(scenario)


def test_a_message_that_was_lost_while_relay_was_down(run: Run) -> None:
    """It does not count as delivered."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            await asyncio.sleep(3.5)
        await world.outbox._writer.run(_lose_deliveries)
        async with world.running():
            await settle_lost(world.incidents, world.outbox)
            await asyncio.sleep(90)
        assert [each for _, each, _ in world.reported()] == ["opened", "opened"]

    run(scenario)


def test_a_route_that_is_gone_at_the_start(run: Run) -> None:
    """A pager that shows the incident gets its end."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            await asyncio.sleep(0.5)
            (delivery,) = await world.due("pager")
            await world.answer("pager", Delivered())
            world.incidents.settled("pager", delivery.notification.id, delivered=True)
            await asyncio.sleep(0.5)
        elsewhere = make_config("audit")
        async with world.running(elsewhere):
            await asyncio.sleep(1)
            assert world.incidents.unwatched_at_start == 1
        assert [each for _, each, _ in world.reported()] == ["opened", "resolved"]

    run(scenario, "pager")


def test_alerts_are_repeated_while_they_are_open(run: Run) -> None:
    """Every four minutes, and no longer once nothing is open."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            await asyncio.sleep(0.5)
            (delivery,) = await world.due("alerts")
            await world.answer("alerts", Delivered())
            world.incidents.settled("alerts", delivery.notification.id, delivered=True)
            await asyncio.sleep(500)
            assert [to for _, to in world.refreshes] == [["alerts"], ["alerts"]]
            (incident,) = world.incidents.list_incidents()
            assert world.incidents.close(incident.id)
            await asyncio.sleep(500)
            assert len(world.refreshes) == 2

    run(scenario, "alerts")


def test_events_are_as_before(run: Run) -> None:
    """A program gets each event at once, and nothing of incidents is stored."""

    async def scenario(world: World) -> None:
        async with world.running():
            await world.play(die(0.1))
            (delivery,) = await world.due("audit")
            assert delivery.notification.update is None
            await asyncio.sleep(100)
            assert world.commits == []
            assert await world.outbox.incident_rows() == []

    run(scenario, "audit")
