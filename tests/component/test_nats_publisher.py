"""Publishing to a real stream: stored, refused, or nobody knows."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.nats import connection as connection_module
from relay.nats.failure import FailureKind
from relay.nats.jetstream import create_stream, stream_info
from relay.nats.publisher import Publisher, PublishError
from tests.component.nats_fixtures import connected, reopened, stream_config
from tests.support.nats_accounts import Account, edge_entry, users
from tests.support.nats_server import NatsServer, running_server

SUBJECT = "relay.events.web-17.container.die"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects again soon."""
    monkeypatch.setattr(connection_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(connection_module, "MIN_WAIT_S", 0.02)
    monkeypatch.setattr(connection_module, "MAX_WAIT_S", 0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server with JetStream, to which everybody may connect."""
    with running_server(tmp_path / "nats") as running:
        yield running


async def _failure(publisher: Publisher, body: bytes = b"x") -> PublishError:
    with pytest.raises(PublishError) as caught:
        await publisher.publish(SUBJECT, body)
    return caught.value


async def test_a_message_is_stored_once(server: NatsServer) -> None:
    """The answer says where; the same id again is a duplicate and not stored, after a kill too."""
    async with connected(server) as connection:
        await create_stream(connection, stream_config())
        publisher = Publisher(connection, "RELAY")
        headers = {"Nats-Msg-Id": "web-17:evt_1"}
        first = await publisher.publish(SUBJECT, b"1", headers)
        again = await publisher.publish(SUBJECT, b"1", headers)
        server.kill()
        server.start()
        await reopened(connection)
        later = await publisher.publish(SUBJECT, b"1", headers)
        assert (first.stream, first.seq, first.duplicate) == ("RELAY", 1, False)
        assert again.duplicate
        assert later.duplicate
        assert (await stream_info(connection, "RELAY")).state.messages == 1


async def test_many_at_once_are_all_answered(server: NatsServer) -> None:
    """Each gets the answer to its own message."""
    async with connected(server) as connection:
        await create_stream(connection, stream_config())
        publisher = Publisher(connection, "RELAY")
        acks = await asyncio.gather(*(publisher.publish(SUBJECT, b"x") for _ in range(64)))
        assert [ack.seq for ack in acks] == list(range(1, 65))


async def test_a_full_stream_takes_messages_again_when_there_is_room(server: NatsServer) -> None:
    """Its kind and its words say that it is full."""
    async with connected(server) as connection:
        await create_stream(connection, stream_config(max_bytes=4_096))
        publisher = Publisher(connection, "RELAY")
        await publisher.publish(SUBJECT, b"x" * 3_000)
        error = await _failure(publisher, b"x" * 3_000)
        assert error.kind is FailureKind.STREAM_FULL
        assert str(error) == "stream RELAY is full: maximum bytes exceeded (10077)"
        await connection.request("$JS.API.STREAM.PURGE.RELAY", timeout_s=5)
        assert (await publisher.publish(SUBJECT, b"x" * 3_000)).seq == 2


async def test_what_a_stream_never_takes(server: NatsServer) -> None:
    """Another stream with the subject, and a message that is longer than the stream allows."""
    async with connected(server) as connection:
        await create_stream(connection, stream_config(max_msg_size=100))
        error = await _failure(Publisher(connection, "OTHER"))
        assert error.kind is FailureKind.WRONG_STREAM
        assert "another stream than OTHER takes the subject" in str(error)
        error = await _failure(Publisher(connection, "RELAY"), b"x" * 200)
        assert error.kind is FailureKind.TOO_LARGE


async def test_no_stream_is_said(server: NatsServer) -> None:
    """It can be made, so it is tried again."""
    async with connected(server) as connection:
        error = await _failure(Publisher(connection, "RELAY"))
    assert error.kind is FailureKind.NO_RESPONDERS
    assert str(error) == "stream RELAY does not answer: there is none, or it has no leader"


async def test_a_server_that_hangs(server: NatsServer) -> None:
    """Nobody knows whether the message was stored; its id makes a repetition harmless."""
    async with connected(server) as connection:
        await create_stream(connection, stream_config())
        publisher = Publisher(connection, "RELAY", timeout_s=0.2)
        headers = {"Nats-Msg-Id": "1"}
        server.pause()
        with pytest.raises(PublishError, match=r"no answer within 0\.2 s") as caught:
            await publisher.publish(SUBJECT, b"1", headers)
        assert caught.value.kind is FailureKind.NO_ANSWER
        server.resume()
        publisher = Publisher(connection, "RELAY")
        assert (await publisher.publish(SUBJECT, b"1", headers)).duplicate


async def test_without_a_connection_nothing_is_kept(server: NatsServer) -> None:
    """What failed is not sent later by surprise."""
    async with connected(server) as connection:
        await create_stream(connection, stream_config())
        publisher = Publisher(connection, "RELAY")
        server.kill()
        error = await _failure(publisher)
        assert error.kind is FailureKind.NOT_CONNECTED
        assert (await _failure(publisher)).kind is FailureKind.NOT_CONNECTED
        server.start()
        assert await connection.wait_open(10)
        assert (await publisher.publish(SUBJECT, b"2")).seq == 1


async def test_the_stream_of_another_host(tmp_path: Path) -> None:
    """An account that may not publish learns so at once."""
    account = Account(tmp_path, "web-17")
    with running_server(tmp_path / "nats", users(edge_entry(account, "other"))) as server:
        keys = {"nkey_file": account.seed_file, "inbox_prefix": "_INBOX.other"}
        async with connected(server, **keys) as connection:
            error = await _failure(Publisher(connection, "RELAY", timeout_s=60))
    assert error.kind is FailureKind.PERMISSION
    assert str(error) == f"the account may not publish to {SUBJECT}"
