"""A hub takes in what other hosts publish: once, in order, and acknowledged after the commit."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import Route
from relay.core.event import Event
from relay.core.exchange import Reason
from relay.core.include import Included
from relay.nats.connection import NatsConnection
from relay.nats.puller import Puller
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import CommitResult, IngestCommit, Selection
from tests.component.nats_hub import (
    ACK_WAIT_S,
    ENGINE,
    EVERYTHING,
    PRIORITY_TIMEOUT_S,
    Hub,
    ask_consumer,
    connected,
    make_consumer,
    make_death,
    make_heartbeat,
    make_stream,
    publish,
    running_hub,
    wait_until_open,
)
from tests.component.wait import wait_until
from tests.support.nats_server import NatsServer, running_server

SELF_EVENTS = Route.model_validate({"name": "own", "match": {"type": "relay"}, "to": ["ops"]})

NO_PIN = {"priority_policy": "", "priority_groups": None, "priority_timeout": 0}
"""A consumer that gives its messages to whoever asks."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that takes messages of 8 MiB."""
    with running_server(tmp_path / "nats", "max_payload: 8MB") as running:
        yield running


@asynccontextmanager
async def stream_ready(server: NatsServer, **consumer: object) -> AsyncIterator[NatsConnection]:
    """A connection to a server with the stream and the consumer."""
    async with connected(server) as admin:
        await make_stream(admin)
        await make_consumer(admin, **consumer)
        yield admin


def numbers(events: list[Event]) -> list[int]:
    """The numbers of deaths, in order."""
    return [event.time_ns for event in events]


async def test_events_come_in_and_are_acknowledged(server: NatsServer, tmp_path: Path) -> None:
    """The host is that of the subject, whatever the body claims; the engine is the sender's."""
    async with stream_ready(server) as admin, open_outbox(tmp_path / "hub.db") as outbox:
        await publish(admin, "web-1", make_death(1, host="web-9", via="forged"))
        async with running_hub(server, outbox) as hub:
            await publish(admin, "web-2", make_death(2))
            first, second = await hub.wait_for(2)
            await hub.wait_until_acked(admin)
            assert (first.host, second.host) == ("web-1", "web-2")
            assert {(event.engine, event.via) for event in (first, second)} == {("local", ENGINE)}
            counters = hub.session.counters
            assert (counters.received, counters.accepted, counters.opened) == (2, 2, 1)
            assert (
                hub.session.status.position_ns == counters.last_event_ns > 2
            )  # the server's clock
            assert hub.session.status.stream is not None
            assert hub.session.status.stream.is_open


async def test_a_hub_that_ends_acknowledges_what_it_has_committed(server: NatsServer) -> None:
    """Nothing of it comes again."""
    async with stream_ready(server) as admin, open_outbox(None) as outbox:
        for number in range(1, 6):
            async with running_hub(server, outbox) as hub:
                await publish(admin, "web-1", make_death(number))
                await hub.wait_for(number)
            assert (await ask_consumer(admin)).lag == 0


async def test_an_event_that_comes_again_is_dropped(server: NatsServer, tmp_path: Path) -> None:
    """Even long after the stream has forgotten it, and over a restart of the hub."""
    async with stream_ready(server) as admin, open_outbox(tmp_path / "hub.db") as outbox:
        async with running_hub(server, outbox) as hub:
            await publish(admin, "web-1", make_death(1))
            await hub.wait_for(1)
            await asyncio.sleep(0.3)  # longer than the stream's duplicate_window
            (ack,) = await publish(admin, "web-1", make_death(1))
            assert not ack.duplicate
            await hub.wait_until_acked(admin)
            # or more, if an acknowledgement came too late on a busy machine
            assert hub.session.counters.duplicates >= 1
        async with running_hub(server, outbox) as hub:
            await asyncio.sleep(0.3)
            await publish(admin, "web-1", make_death(1), make_death(2))
            assert numbers(await hub.wait_for(2)) == [1, 2]
            await hub.wait_until_acked(admin)
            assert hub.session.counters.duplicates >= 1


async def test_another_host_may_send_the_same_id(server: NatsServer) -> None:
    """Nobody can make the hub drop what another host sends."""
    async with (
        stream_ready(server) as admin,
        open_outbox(None) as outbox,
        running_hub(server, outbox) as hub,
    ):
        await publish(admin, "evil", make_death(1))
        await publish(admin, "web-1", make_death(1))
        assert [event.host for event in await hub.wait_for(2)] == ["evil", "web-1"]


async def test_three_managers_report_one_event(server: NatsServer) -> None:
    """The id of a swarm's event is the same on all of them; one that differs is another event."""
    async with (
        stream_ready(server) as admin,
        open_outbox(None) as outbox,
        running_hub(server, outbox) as hub,
    ):
        event = make_death(1, scope="swarm")
        for manager in ("m1", "m2", "m3"):
            await publish(admin, manager, event)
            await asyncio.sleep(0.15)  # so that the stream itself does not know it
        await publish(admin, "evil", make_death(1, scope="swarm", action="start"))
        events = await hub.wait_for(2)
        await hub.wait_until_acked(admin)
        assert [(each.host, each.action) for each in events] == [
            ("m1", "die"),
            ("evil", "start"),
        ]


async def test_an_event_without_a_route_is_acknowledged(server: NatsServer) -> None:
    """Without a commit: there is nothing to store."""
    async with (
        stream_ready(server) as admin,
        open_outbox(None) as outbox,
        running_hub(server, outbox, [SELF_EVENTS]) as hub,
    ):
        await publish(admin, "web-1", make_death(1))
        await wait_until(lambda: hub.session.counters.received == 1)
        await hub.wait_until_acked(admin)
        assert hub.results == []
        assert await outbox.seen(ENGINE) == []


async def test_a_message_that_is_no_event(server: NatsServer, tmp_path: Path) -> None:
    """It is kept as a dead letter, terminated, and reported; what follows comes in."""
    async with (
        stream_ready(server) as admin,
        open_outbox(tmp_path / "hub.db") as outbox,
        running_hub(server, outbox, [EVERYTHING, SELF_EVENTS]) as hub,
    ):
        await admin.request("relay.events.web-1.container.die", b'{"a": 1', timeout_s=5)
        await admin.request("relay.events.odd", b"\xff", timeout_s=5)
        await publish(admin, "web-1", make_death(3))
        events = await hub.wait_for(2)
        await hub.wait_until_acked(admin)
        odd, poison = await outbox.dead_letters(Selection(destination=ENGINE), 9)
        await wait_until(lambda: hub.session.counters.malformed["unreadable"] == 2)
    assert {event.action for event in events} == {"gap", "die"}
    (gap, *_) = [event for event in events if event.action == "gap"]
    assert (gap.host, gap.via, gap.actor.attributes["why"]) == ("web-1", ENGINE, "record_invalid")
    attributes = poison.notification.events[0].actor.attributes
    assert attributes["message"] == '{"a": 1'
    assert attributes["subject"] == "relay.events.web-1.container.die"
    assert poison.notification.events[0].host == "web-1"
    assert (poison.reason, odd.reason) == (Reason.UNREADABLE, Reason.UNREADABLE)
    assert poison.answer is not None
    assert "is not the event of a relay" in (poison.answer.error or "")
    assert odd.notification.events[0].actor.attributes["message"] == "\ufffd"


async def test_a_body_of_8_mb(server: NatsServer, tmp_path: Path) -> None:
    """It is longer than any event: only its beginning is kept."""
    async with (
        stream_ready(server) as admin,
        open_outbox(tmp_path / "hub.db") as outbox,
        running_hub(server, outbox) as hub,
    ):
        body = b"x" * (8 * 2**20 - 1024)
        await admin.request("relay.events.web-1.container.die", body, timeout_s=20)
        await publish(admin, "web-1", make_death(2))
        assert numbers(await hub.wait_for(1)) == [2]
        await hub.wait_until_acked(admin)
        (dead,) = await outbox.dead_letters(Selection(), 9)
    assert dead.notification.events[0].actor.attributes["message"] == "x" * 65_536
    assert dead.answer is not None
    assert "bytes" in (dead.answer.error or "")


async def test_what_the_host_included_is_in_the_notification(server: NatsServer) -> None:
    """Nothing waits for it: the hub cannot ask the host's engine."""
    route = Route.model_validate(
        {"name": "all", "to": ["ops"], "include": {"logs": 2, "inspect": ["State.Pid"]}}
    )
    included = Included(logs=("a", "b", "c"), inspect={"State.Pid": 7, "RestartCount": 1})
    async with (
        stream_ready(server) as admin,
        open_outbox(None) as outbox,
        running_hub(server, outbox, [route]) as hub,
    ):
        await publish(admin, "web-1", make_death(1), included=included)
        await publish(admin, "web-2", make_death(1, "db"))
        await hub.wait_for(2)
        with_it, without = (each.notification for each in await hub.deliveries())
    assert with_it.include is without.include is None
    assert with_it.included == Included(logs=("b", "c"), inspect={"State.Pid": 7})
    assert without.included == Included(missing="not included at the edge")


async def test_a_store_that_fails_acknowledges_nothing(server: NatsServer, tmp_path: Path) -> None:
    """Not even what was pulled already. When the store works again, nothing is missing."""
    async with stream_ready(server) as admin, open_outbox(tmp_path / "hub.db") as outbox:
        broken = BrokenOutbox(outbox)
        async with running_hub(server, broken) as hub:
            await publish(admin, "web-1", *(make_death(number) for number in range(1, 6)))
            await wait_until(lambda: broken.is_committing)
            await asyncio.sleep(2 * ACK_WAIT_S)
            info = await ask_consumer(admin)
            assert info.lag == 5
            assert await hub.events() == []
            broken.works.set()
            assert numbers(await hub.wait_for(5)) == [1, 2, 3, 4, 5]
            await hub.wait_until_acked(admin)
            assert hub.session.counters.accepted == 5


class BrokenOutbox(Outbox):
    """A store whose disk is full until it ``works``."""

    def __init__(self, outbox: Outbox) -> None:
        self.__dict__.update(outbox.__dict__)
        self.works = asyncio.Event()
        self.is_committing = False

    async def commit(self, batch: IngestCommit, now_ns: int) -> CommitResult:
        """Wait, as the store's writer does, and commit then."""
        self.is_committing = True
        await self.works.wait()
        return await super().commit(batch, now_ns)


async def test_a_hub_that_is_killed_before_the_acknowledgement(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor gets the messages again, knows them, and drops them."""

    async def acknowledge_nothing(*_: object) -> None:
        """As if relay was killed before."""

    async with stream_ready(server) as admin, open_outbox(tmp_path / "hub.db") as outbox:
        monkeypatch.setattr(Puller, "ack", acknowledge_nothing)
        async with running_hub(server, outbox) as hub:
            await publish(admin, "web-1", *(make_death(number) for number in range(1, 6)))
            await hub.wait_for(5)
        monkeypatch.undo()
        assert (await ask_consumer(admin)).num_ack_pending == 5
        async with running_hub(server, outbox) as hub:
            await publish(admin, "web-1", make_death(6))
            assert numbers(await hub.wait_for(6)) == [1, 2, 3, 4, 5, 6]
            await hub.wait_until_acked(admin)
            assert hub.session.counters.duplicates == 5


@pytest.mark.parametrize("priority", [True, False])
async def test_a_takeover_keeps_the_order(
    server: NatsServer, tmp_path: Path, priority: bool
) -> None:
    """The successor commits what the dead hub had pulled before what came after it."""
    pin = {} if priority else NO_PIN
    async with stream_ready(server, **pin) as admin:
        async with open_outbox(tmp_path / "a.db") as outbox:
            broken = BrokenOutbox(outbox)
            async with running_hub(server, broken, batch=4) as hub:
                await publish(admin, "web-1", *(make_death(number) for number in range(1, 11)))
                await wait_until(lambda: broken.is_committing)
                # killed: neither committed nor acknowledged
                await kill(hub)
            pulled = (await ask_consumer(admin)).num_ack_pending
            assert pulled >= 1
        await publish(admin, "web-1", *(make_death(number) for number in range(11, 21)))
        async with open_outbox(tmp_path / "b.db") as outbox, running_hub(server, outbox) as hub:
            assert numbers(await hub.wait_for(20)) == list(range(1, 21))
            await hub.wait_until_acked(admin)


async def kill(hub: Hub) -> None:
    """End a hub as SIGKILL does: what it was doing is not finished."""
    worker = next(task for task in asyncio.all_tasks() if task.get_name() == "engine fleet: worker")
    worker.cancel()
    await asyncio.wait({worker})
    await hub.session.connection.close()


async def test_order_over_failovers(server: NatsServer, tmp_path: Path) -> None:
    """20 containers with numbered events; the hub in charge is killed three times."""
    chance = random.Random(19)
    made: defaultdict[str, int] = defaultdict(int)
    async with stream_ready(server) as admin:

        async def make(count: int) -> None:
            for _ in range(count):
                container = f"c{chance.randrange(20)}"
                made[container] += 1
                await publish(admin, "web-1", make_death(made[container], container))

        found: defaultdict[str, list[int]] = defaultdict(list)
        for round_ in range(4):
            async with open_outbox(tmp_path / f"{round_}.db") as outbox:
                async with running_hub(server, outbox, batch=16) as hub:
                    await make(30)
                    await hub.wait_for(10)
                    if round_ < 3:
                        making = asyncio.create_task(make(30))
                        await hub.wait_for(chance.randrange(15, 40))
                        await kill(hub)
                        await making
                    else:
                        await hub.wait_until_acked(admin)
                for event in await hub.events():
                    assert event.actor.name is not None
                    found[event.actor.name].append(event.time_ns)
    for container, count in made.items():
        distinct = list(dict.fromkeys(found[container]))  # another hub may send some twice
        assert distinct == list(range(1, count + 1)), container


async def test_order_if_a_commit_takes_longer_than_the_server_waits(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what came meanwhile, the server delivers a part again, and not yet the rest."""
    async with stream_ready(server) as admin, open_outbox(None) as outbox:
        commit, stalls = outbox.commit, [1.2 * ACK_WAIT_S]

        async def commit_late(batch: IngestCommit, now_ns: int) -> CommitResult:
            await asyncio.sleep(stalls.pop() if stalls else 0.0)
            return await commit(batch, now_ns)

        monkeypatch.setattr(outbox, "commit", commit_late)
        async with running_hub(server, outbox) as hub:
            for number in range(40):
                await publish(admin, "web-1", make_death(number))
                await asyncio.sleep(0.02)
            assert numbers(await hub.wait_for(40)) == list(range(40))
    assert not stalls


async def test_a_standby_waits_until_the_hub_is_gone(server: NatsServer, tmp_path: Path) -> None:
    """Two hubs on one consumer: one gets everything, and the other one nothing until then."""
    async with (
        stream_ready(server) as admin,
        open_outbox(tmp_path / "a.db") as first,
        open_outbox(tmp_path / "b.db") as second,
        running_hub(server, first) as hub,
    ):
        await publish(admin, "web-1", make_death(1))
        await hub.wait_for(1)
        async with running_hub(server, second) as standby:
            await wait_until_open(standby)
            await publish(admin, "web-1", *(make_death(number) for number in range(2, 40)))
            assert numbers(await hub.wait_for(39)) == list(range(1, 40))
            assert standby.session.counters.received == 0
            assert standby.session.monitor.puller.is_standby
            hub.session.end()
            await publish(admin, "web-1", make_death(40))
            assert numbers(await standby.wait_for(1)) == [40]


async def test_two_hubs_without_a_pin(server: NatsServer, tmp_path: Path) -> None:
    """They share the messages, which costs the order. What both send has one id, nothing is lost.

    Each waits for what the other has when it starts, so long that the stream delivers some again.
    """
    async with (
        stream_ready(server, **NO_PIN) as admin,
        open_outbox(tmp_path / "a.db") as first,
        open_outbox(tmp_path / "b.db") as second,
        running_hub(server, first, batch=4) as one,
        running_hub(server, second, batch=4) as other,
    ):
        await wait_until_open(one)
        await wait_until_open(other)
        await publish(admin, "web-1", *(make_death(number) for number in range(1, 61)))
        await one.wait_until_acked(admin)
        sent = [
            delivery.notification
            for hub in (one, other)
            for delivery in await hub.outbox.waiting("ops", 100)
        ]
        assert {each.events[0].time_ns for each in sent} == set(range(1, 61))
        assert len({each.id for each in sent}) == 60


async def test_a_hub_without_events_stays_in_charge(server: NatsServer, tmp_path: Path) -> None:
    """Its pin does not pass to the standby, which knows less of hosts and events."""
    async with (
        stream_ready(server) as admin,
        open_outbox(tmp_path / "a.db") as first,
        open_outbox(tmp_path / "b.db") as second,
        running_hub(server, first) as hub,
    ):
        await publish(admin, "web-1", make_death(1))
        await hub.wait_for(1)
        pin = hub.session.monitor.puller.pin_id
        async with running_hub(server, second) as standby:
            await wait_until_open(standby)
            await asyncio.sleep(2.5 * PRIORITY_TIMEOUT_S)
            (group,) = (await ask_consumer(admin)).priority_groups or ()
            assert group.pinned_client_id == pin is not None


async def test_a_server_that_is_killed(server: NatsServer, tmp_path: Path) -> None:
    """The hub comes back by itself, and misses nothing."""
    async with (
        stream_ready(server) as admin,
        open_outbox(tmp_path / "hub.db") as outbox,
        running_hub(server, outbox) as hub,
    ):
        await publish(admin, "web-1", *(make_death(number) for number in range(1, 11)))
        await hub.wait_for(10)
        server.kill()
        await wait_until(lambda: not hub.session.is_connected)
        server.start()
        assert await admin.wait_open(20)
        await publish(admin, "web-1", *(make_death(number) for number in range(11, 21)))
        assert numbers(await hub.wait_for(20)) == list(range(1, 21))
        await hub.wait_until_acked(admin)
        assert hub.session.counters.reconnects == 1


async def test_a_host_that_falls_silent(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported once, over a restart of the hub, and when it is back."""
    monkeypatch.setattr("relay.ingest.nats.reader.IDLE_S", 0.05)
    changes = Route.model_validate(
        {"name": "own", "match": {"type": "relay", "action": "engine_*"}, "to": ["ops"]}
    )
    soon = {"silent_after": timedelta(seconds=0.5)}
    async with stream_ready(server) as admin, open_outbox(tmp_path / "hub.db") as outbox:
        async with running_hub(server, outbox, [changes], replaced=soon) as hub:
            await publish(admin, "web-1", make_heartbeat())
            (lost,) = await hub.wait_for(1)
        assert (lost.action, lost.host, lost.via) == ("engine_lost", "web-1", ENGINE)
        (row,) = await outbox.hosts(ENGINE)
        assert row.lost_ns is not None
        async with running_hub(server, outbox, [changes], replaced=soon) as hub:
            await asyncio.sleep(0.8)
            await publish(admin, "web-1", make_heartbeat(2))
            _, back = await hub.wait_for(2)
        assert (back.action, back.host) == ("engine_back", "web-1")


async def test_a_consumer_that_does_not_exist(server: NatsServer, tmp_path: Path) -> None:
    """The stream is not open, and the monitor says why."""
    async with connected(server) as admin, open_outbox(None) as outbox:
        await make_stream(admin)
        async with running_hub(server, outbox) as hub:
            puller = hub.session.monitor.puller
            await wait_until(lambda: puller.problem is not None)
            assert puller.problem == "the stream RELAY has no consumer HUB"
            assert not hub.session.is_connected
            await make_consumer(admin)
            await publish(admin, "web-1", make_death(1))
            assert numbers(await hub.wait_for(1)) == [1]
            assert hub.session.is_connected
