"""Pulling from a real consumer: everything comes, in order, to one client at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.nats import connection as connection_module
from relay.nats import puller as puller_module
from relay.nats.connection import NatsConnection
from relay.nats.jetstream import create_consumer, create_stream
from relay.nats.publisher import Publisher
from relay.nats.puller import PulledMessage, Puller
from tests.component.nats_fixtures import (
    all_acknowledged,
    connected,
    consumer_config,
    make_stream,
    stream_config,
)
from tests.support.nats_accounts import Account, hub_entry, users
from tests.support.nats_keys import client_keys
from tests.support.nats_server import NatsServer, running_server

SUBJECT = "relay.events.web-17.container.die"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again soon."""
    for name, value in {"FIRST_WAIT_S": 0.01, "MIN_WAIT_S": 0.02, "MAX_WAIT_S": 0.05}.items():
        monkeypatch.setattr(connection_module, name, value)
    monkeypatch.setattr(puller_module, "MAX_WAIT_S", 0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server with JetStream, to which everybody may connect."""
    with running_server(tmp_path / "nats") as running:
        yield running


@asynccontextmanager
async def _pulling(server: NatsServer, **keys: Any) -> AsyncIterator[Puller]:
    connection = NatsConnection("hub", client_keys(server, **{"name": "HUB", **keys}))
    puller = Puller(connection, "RELAY", "HUB")
    await connection.open()
    try:
        yield puller
    finally:
        await connection.close()


async def _publish(server: NatsServer, *bodies: bytes, headers: Any = None) -> None:
    async with connected(server) as connection:
        publisher = Publisher(connection, "RELAY")
        for body in bodies:
            await publisher.publish(SUBJECT, body, headers)


async def _pull(puller: Puller, count: int) -> list[PulledMessage]:
    """Pull and acknowledge this many messages."""
    messages: list[PulledMessage] = []
    async with asyncio.timeout(20):
        while len(messages) < count:
            some = await puller.pull(256, 1.0)
            await puller.ack(some)
            messages += some
    return messages


async def _problem(puller: Puller) -> str:
    async with asyncio.timeout(10):
        while puller.problem is None:
            assert await puller.pull(10, 0.1) == []
    return puller.problem


async def test_messages_come_in_order_and_once(server: NatsServer) -> None:
    """Each says its number, its subject and how often it was delivered."""
    await make_stream(server)
    await _publish(server, *(b"%d" % number for number in range(20)))
    async with _pulling(server) as puller:
        messages = await _pull(puller, 20)
        assert [message.body for message in messages] == [b"%d" % it for it in range(20)]
        assert [message.stream_seq for message in messages] == list(range(1, 21))
        assert {message.subject for message in messages} == {SUBJECT}
        assert {message.delivered for message in messages} == {1}
        assert all(message.stored_ns > 10**18 for message in messages)
        await all_acknowledged(puller)
        assert await puller.pull(10, 0.1) == []
        assert puller.problem is None


async def test_a_pull_returns_as_soon_as_something_is_there(server: NatsServer) -> None:
    """It waits neither for a whole batch nor for the end of its time."""
    await make_stream(server)
    async with _pulling(server) as puller:
        pulling = asyncio.create_task(puller.pull(256, 60))
        await _publish(server, b"1")
        async with asyncio.timeout(10):
            assert [message.body for message in await pulling] == [b"1"]


async def test_what_is_not_acknowledged_comes_again(server: NatsServer) -> None:
    """The number of the delivery says so."""
    await make_stream(server)
    await _publish(server, b"1")
    async with _pulling(server) as puller:
        (first,) = await puller.pull(10, 10)
        (again,) = await puller.pull(10, 10)
        assert (first.delivered, again.delivered) == (1, 2)
        assert again.stream_seq == first.stream_seq
        assert (await puller.consumer_info()).num_redelivered == 1
        await puller.ack([again])
        assert await puller.pull(10, 1.5) == []


async def test_a_terminated_message_does_not_come_again(server: NatsServer) -> None:
    """What cannot be read is given up, with a reason that is one line."""
    await make_stream(server)
    await _publish(server, b"poison")
    async with _pulling(server) as puller:
        (message,) = await puller.pull(10, 10)
        await puller.term(message, "is not an event\r\nPUB x 0\r\n")
        await all_acknowledged(puller)
        assert await puller.pull(10, 1.5) == []


async def test_headers_that_look_like_a_status_are_a_message(server: NatsServer) -> None:
    """No sender can stop the hub, or take over its pin."""
    await make_stream(server)
    forged = {"Status": "409", "Description": "Consumer Deleted", "Nats-Pin-Id": "forged"}
    await _publish(server, b"", b"2", headers=forged)
    async with _pulling(server) as puller:
        messages = await _pull(puller, 2)
        assert [message.body for message in messages] == [b"", b"2"]
        assert puller.pin_id not in (None, "forged")


async def test_a_killed_server_loses_and_repeats_nothing_that_was_acknowledged(
    server: NatsServer,
) -> None:
    """Pulling goes on by itself."""
    await make_stream(server)
    await _publish(server, b"1", b"2")
    async with _pulling(server) as puller:
        await _pull(puller, 2)
        await all_acknowledged(puller)
        server.kill()
        assert "127.0.0.1" in await _problem(puller) or puller.problem
        server.start()
        await _publish(server, b"3")
        assert [message.body for message in await _pull(puller, 1)] == [b"3"]
        assert puller.problem is None


async def test_one_client_gets_the_messages_and_the_other_stands_by(server: NatsServer) -> None:
    """When the active one is gone, the other one goes on where it stopped."""
    await make_stream(server)
    async with _pulling(server) as standby:
        async with _pulling(server) as active:
            await _publish(server, b"1")
            await _pull(active, 1)
            waiting = asyncio.create_task(standby.pull(10, 30))
            await _publish(server, b"2", b"3")
            await _pull(active, 2)
            assert not waiting.done()
            await standby.consumer_info()
            assert standby.is_standby
            assert not active.is_standby
        await _publish(server, b"4")
        messages = await waiting
        assert [message.body for message in messages] == [b"4"]
        assert not standby.is_standby
        assert standby.pin_id != active.pin_id


async def test_nobody_stands_by_before_the_first_message(server: NatsServer) -> None:
    """A hub that is alone is not taken for one that waits for another."""
    await make_stream(server)
    async with _pulling(server) as puller:
        assert await puller.pull(10, 0.2) == []
        assert puller.is_pinning
        assert not puller.is_standby


async def test_a_client_that_lost_its_pin_stands_by(server: NatsServer) -> None:
    """The server says that another one is pinned; that is no problem, and it asks again."""
    await make_stream(server)
    async with _pulling(server) as puller, connected(server) as admin:
        await _publish(server, b"1")
        await _pull(puller, 1)
        pinned = puller.pin_id
        answer = await admin.request(
            "$JS.API.CONSUMER.UNPIN.RELAY.HUB", b'{"group": "hub"}', timeout_s=5
        )
        assert b"error" not in answer.body
        await _publish(server, b"2")
        assert [message.body for message in await _pull(puller, 1)] == [b"2"]
        assert puller.pin_id != pinned
        assert puller.problem is None


async def test_a_client_that_hung_can_ask_whether_it_was_replaced(server: NatsServer) -> None:
    """The server tells it with its next request, and what it has received before is in doubt."""
    await make_stream(server)
    async with (
        _pulling(server) as hung,
        _pulling(server) as other,
        connected(server) as admin,
    ):
        await _publish(server, b"1")
        assert len(await hung.pull(1, 10)) == 1  # so that no request of it waits any more
        await hung.consumer_info()
        assert not hung.is_superseded
        await admin.request("$JS.API.CONSUMER.UNPIN.RELAY.HUB", b'{"group": "hub"}', timeout_s=5)
        await _publish(server, b"2")
        assert len(await other.pull(1, 10)) == 1
        await hung.consumer_info()
        await other.consumer_info()
        assert hung.is_superseded
        assert not other.is_superseded


async def test_old_messages_that_were_not_taken_are_left_to_the_server(
    server: NatsServer,
) -> None:
    """A hub whose disk hung does not take what the other hub may have by now."""
    await make_stream(server)
    await _publish(server, b"1", b"2", b"3")
    async with _pulling(server) as puller:
        messages: list[PulledMessage] = []
        async with asyncio.timeout(10):
            while len(messages) < 3:
                messages += await puller.pull(10, 0.1)
        puller._messages.extend(messages)  # as if nobody had asked for them yet
        now_s = asyncio.get_running_loop().time()
        assert len(puller._take(1, now_s)) == 1
        assert puller._take(10, now_s + puller.ack_wait_s + 1) == []
        assert puller.dropped_count == 2


@pytest.mark.parametrize(
    ("stream", "consumer", "words"),
    [
        (False, False, "there is no stream RELAY"),
        (True, False, "the stream RELAY has no consumer HUB"),
    ],
)
async def test_what_is_missing_is_said_and_found_later(
    server: NatsServer, stream: bool, consumer: bool, words: str
) -> None:
    """It starts as soon as the stream and the consumer are made."""
    async with connected(server) as admin, _pulling(server) as puller:
        if stream:
            await create_stream(admin, stream_config())
        assert await _problem(puller) == words
        if not stream:
            await create_stream(admin, stream_config())
        await create_consumer(admin, "RELAY", consumer_config())
        await _publish(server, b"1")
        assert [message.body for message in await _pull(puller, 1)] == [b"1"]
        assert puller.problem is None


async def test_a_push_consumer_is_refused_with_words(server: NatsServer) -> None:
    """relay needs one from which it pulls."""
    async with connected(server) as admin, _pulling(server) as puller:
        await create_stream(admin, stream_config())
        push = consumer_config(
            deliver_subject="push.here",
            priority_policy="",
            priority_groups=None,
            priority_timeout=0,
        )
        await create_consumer(admin, "RELAY", push)
        assert "is a push consumer; relay needs a pull consumer" in await _problem(puller)


async def test_a_consumer_that_is_deleted_while_it_is_asked(server: NatsServer) -> None:
    """What waits is not left waiting."""
    await make_stream(server)
    async with connected(server) as admin, _pulling(server) as puller:
        assert await puller.pull(10, 0.2) == []
        await admin.request("$JS.API.CONSUMER.DELETE.RELAY.HUB", timeout_s=5)
        assert "has no consumer HUB" in await _problem_with(puller, "no consumer")


async def _problem_with(puller: Puller, words: str) -> str:
    async with asyncio.timeout(10):
        while words not in (puller.problem or ""):
            await puller.pull(10, 0.1)
    return puller.problem or ""


async def test_a_consumer_without_a_pin(server: NatsServer) -> None:
    """It works, and nobody stands by."""
    async with connected(server) as admin, _pulling(server) as puller:
        await create_stream(admin, stream_config())
        plain = consumer_config(priority_policy="", priority_groups=None, priority_timeout=0)
        await create_consumer(admin, "RELAY", plain)
        await _publish(server, b"1")
        await _pull(puller, 1)
        assert not puller.is_pinning
        assert not puller.is_standby
        assert puller.pin_id is None


async def test_the_rights_of_a_hub_are_enough_and_missing_ones_are_named(tmp_path: Path) -> None:
    """A hub needs three subjects and its inbox; without one of them relay says which."""
    admin, hub = Account(tmp_path, "admin"), Account(tmp_path, "hub")
    enough = users(admin.may_do_all(), hub_entry(hub))
    with running_server(tmp_path / "nats", enough) as server:
        await make_stream(server, nkey_file=admin.seed_file)
        async with connected(server, nkey_file=admin.seed_file) as connection:
            publisher = Publisher(connection, "RELAY")
            for _ in range(3):
                await publisher.publish(SUBJECT, b"1")
        async with _pulling(server, nkey_file=hub.seed_file) as puller:
            assert len(await _pull(puller, 3)) == 3
            await all_acknowledged(puller)
            assert puller.problem is None
    for missing in ("MSG.NEXT", "CONSUMER.INFO", "JS.ACK"):
        subjects = [
            "$JS.API.CONSUMER.MSG.NEXT.RELAY.HUB",
            "$JS.API.CONSUMER.INFO.RELAY.HUB",
            "$JS.ACK.RELAY.HUB.>",
        ]
        kept = [subject for subject in subjects if missing not in subject]
        entry = hub.may(publish=kept, subscribe=["_INBOX.HUB.>"])
        with running_server(tmp_path / missing, users(admin.may_do_all(), entry)) as server:
            await make_stream(server, nkey_file=admin.seed_file)
            async with connected(server, nkey_file=admin.seed_file) as connection:
                await Publisher(connection, "RELAY").publish(SUBJECT, b"1")
            async with _pulling(server, nkey_file=hub.seed_file) as puller:
                async with asyncio.timeout(10):
                    while missing not in (puller.problem or ""):
                        await puller.ack(await puller.pull(10, 0.1))
                assert "may not publish to" in (puller.problem or "")
