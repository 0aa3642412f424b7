"""The destination of type nats at a real server: what becomes of an event, and what is said."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from time import time_ns
from typing import Any

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from relay.config import RetryConfig
from relay.core.exchange import (
    Dead,
    Delivered,
    Outcome,
    Reached,
    Reason,
    Request,
    Response,
    Retry,
)
from relay.core.include import Included
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.delivery.client import ConsoleOutput, DestinationClient, open_client
from relay.delivery.retry import Attempt, classify
from relay.delivery.senders import reach
from relay.destinations.nats import NatsDestination
from relay.nats import connection
from relay.nats.failure import RequestError
from relay.nats.jetstream import create_stream
from relay.nats.message import SENT_AT, decode_event
from tests.component.nats_fixtures import connected, stream_config
from tests.component.nats_stream import count_messages, make_stream, purge, read_messages
from tests.support.events import make_event
from tests.support.nats_server import NatsServer, running_cluster, running_server

FIRST = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)
TIMEOUT_S = 30


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects again soon."""
    monkeypatch.setattr(connection, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(connection, "MIN_WAIT_S", 0.02)
    monkeypatch.setattr(connection, "MAX_WAIT_S", 0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_server(tmp_path / "nats") as running:
        yield running


def destination(server: NatsServer, **keys: Any) -> NatsDestination:
    usual = {"url": server.url, "stream": "RELAY", "as": "web-17"}
    return NatsDestination.model_validate({**usual, **keys})


@asynccontextmanager
async def client_of(to: NatsDestination) -> AsyncIterator[DestinationClient]:
    """The client as the daemon opens it."""
    console = ConsoleOutput(BytesIO(), colour=False)
    async with asyncio.timeout(TIMEOUT_S), open_client("hub", to, (), console, zone=UTC_ZONE) as it:
        yield it


def notification(number: int = 1, size: int = 0, **fields: Any) -> Notification:
    actor = replace(make_event().actor, attributes={"padding": "x" * size})
    event = make_event(id=f"evt_{number:032x}", time_ns=number, **{"actor": actor, **fields})
    return build_notification("route", event)


def outcome_of(response: Response) -> Outcome:
    return classify(response, FIRST, RetryConfig())


def reason_to_retry(response: Response) -> Reason:
    """Why relay tries it again; an error if it does not."""
    outcome = outcome_of(response)
    assert isinstance(outcome, Retry)
    return outcome.reason


# what is stored


async def test_an_event_is_stored(server: NatsServer) -> None:
    """Under the host's subject, with its id, the host's clock, and what its route included."""
    await make_stream(server)
    sent = replace(notification(), included=Included(logs=("bye",)))
    before_ns = time_ns()
    async with client_of(destination(server)) as client:
        response = await client.send(sent)
    assert outcome_of(response) == Delivered()
    assert response.body == b"stream RELAY stored it, as number 1"
    (stored,) = await read_messages(server)
    assert stored.subject == "relay.events.web-17.container.die"
    headers = stored.headers
    assert before_ns <= int(headers.pop(SENT_AT)) <= time_ns()
    assert headers == {
        "Nats-Msg-Id": f"web-17:{sent.events[0].id}",
        "Content-Type": "application/cloudevents+json",
        "Nats-Expected-Stream": "RELAY",
    }
    found = decode_event(stored.data, host="web-17", via="fleet")
    assert found.event == replace(sent.events[0], host="web-17", via="fleet")
    assert found.included == sent.included


async def test_an_event_that_is_there_already_is_delivered(server: NatsServer) -> None:
    """As after an answer that was lost, or by another route."""
    await make_stream(server)
    async with client_of(destination(server)) as client:
        await client.send(notification())
        again = await client.send(replace(notification(), route="another"))
    assert outcome_of(again) == Delivered()
    assert again.body == b"stream RELAY had it already, as number 1"
    assert await count_messages(server) == 1


async def test_a_server_of_short_messages_gets_a_shorter_one(tmp_path: Path) -> None:
    """Some labels are left out, and not the event."""
    with running_server(tmp_path / "nats", "max_payload: 64KB") as server:
        await make_stream(server)
        async with client_of(destination(server)) as client:
            response = await client.send(notification(size=200_000))
        assert outcome_of(response) == Delivered()
        (stored,) = await read_messages(server)
    event = decode_event(stored.data, host="web-17", via="fleet").event
    assert event.actor.attributes == {"…": "1"}
    assert event.actor.name == notification().events[0].actor.name


async def test_what_cannot_be_made_shorter_is_refused(tmp_path: Path) -> None:
    """It would end the connection if it were sent."""
    request = Request(b"x" * 200_000, "relay.events.web-17.container.die")
    with running_server(tmp_path / "nats", "max_payload: 64KB") as server:
        await make_stream(server)
        async with client_of(destination(server)) as client:
            response = await client.sender.send(request)
            assert outcome_of(response) == Dead(Reason.REFUSED)
            assert outcome_of(await client.send(notification())) == Delivered()


# what is tried again


async def test_without_a_server(tmp_path: Path) -> None:
    """The attempt waits for the connection, and says why there is none."""
    server = NatsServer(tmp_path / "nats")
    async with client_of(destination(server, timeout={"connect": "200ms"})) as client:
        response = await client.send(notification())
        assert client.connection is not None
        assert client.connection.problem == f"127.0.0.1:{server.port}: Connection refused"
    assert reason_to_retry(response) is Reason.CONNECTION
    assert response.error == f"not connected: 127.0.0.1:{server.port}: Connection refused"


async def test_an_attempt_waits_for_the_first_connection(server: NatsServer) -> None:
    """At the start of relay events may be there before the connection is."""
    await make_stream(server)
    async with client_of(destination(server)) as client:
        assert outcome_of(await client.send(notification())) == Delivered()


async def test_a_connection_that_is_lost(server: NatsServer) -> None:
    """What was published and not answered is tried again at once; a reconnect is said."""
    await make_stream(server)
    async with client_of(destination(server, timeout={"connect": "10s"})) as client:
        assert client.connection is not None
        opened = asyncio.Event()
        await client.send(notification(1))
        client.connection.on_open(opened.set)
        server.pause()
        sending = asyncio.create_task(client.send(notification(2)))
        await asyncio.sleep(0)
        server.kill()
        assert reason_to_retry(await sending) is Reason.CONNECTION
        assert client.connection.problem is not None
        server.start()
        assert outcome_of(await client.send(notification(2))) == Delivered()
        assert opened.is_set()
        assert client.connection.problem is None
    assert await count_messages(server) == 2


async def test_no_stream(server: NatsServer) -> None:
    """It may be made later."""
    async with client_of(destination(server)) as client:
        response = await client.send(notification())
        assert reason_to_retry(response) is Reason.UNAVAILABLE
        assert response.error == "stream RELAY does not answer: there is none, or it has no leader"
        await make_stream(server)
        assert outcome_of(await client.send(notification())) == Delivered()


async def test_a_full_stream(server: NatsServer) -> None:
    """Nothing is lost: the host keeps it until the hub has taken others."""
    await make_stream(server, max_bytes=4_096)
    async with client_of(destination(server)) as client:
        assert outcome_of(await client.send(notification(1, 2_000))) == Delivered()
        response = await client.send(notification(2, 2_000))
        assert reason_to_retry(response) is Reason.UNAVAILABLE
        assert response.error == "stream RELAY is full: maximum bytes exceeded (10077)"
        await purge(server)
        assert outcome_of(await client.send(notification(2, 2_000))) == Delivered()


async def test_no_answer(server: NatsServer) -> None:
    """A server that hangs: the event may be stored, and the next attempt finds that out."""
    await make_stream(server)
    times = {"connect": "100ms", "total": "200ms"}
    async with client_of(destination(server, timeout=times)) as client:
        assert outcome_of(await client.send(notification(1))) == Delivered()
        server.pause()
        response = await client.send(notification(2))
        server.resume()
    assert reason_to_retry(response) is Reason.TIMEOUT
    assert response.error == "no answer within 0.2 s"


# what is given up


async def test_another_stream(server: NatsServer) -> None:
    await make_stream(server)
    async with client_of(destination(server, stream="OTHER")) as client:
        response = await client.send(notification())
    assert outcome_of(response) == Dead(Reason.REFUSED)
    assert response.error is not None
    assert response.error.startswith("another stream than OTHER takes the subject")
    assert await count_messages(server) == 0


async def test_a_message_that_is_too_long_for_the_stream(server: NatsServer) -> None:
    await make_stream(server, max_msg_size=1_000)
    async with client_of(destination(server)) as client:
        response = await client.send(notification(size=2_000))
        assert outcome_of(response) == Dead(Reason.REFUSED)
        assert response.hint.status == 413


# who may publish

ACCOUNTS = """
authorization {{
  users: [
    {{user: admin, password: adminpw}}
    {{user: web-17, password: s3cret-password, permissions: {permissions}}}
  ]
}}
"""
RIGHT = '{publish: "relay.events.web-17.>", subscribe: "_INBOX.web-17.>"}'
LOGIN: dict[str, Any] = {"username": "web-17", "password": "s3cret-password"}
ADMIN: dict[str, Any] = {"username": "admin", "password": "adminpw"}


def accounts(permissions: str = RIGHT) -> str:
    return ACCOUNTS.format(permissions=permissions)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[NatsServer]:
    """A server where a host may do only what it has to."""
    with running_server(tmp_path / "nats", accounts()) as running:
        yield running


async def test_the_least_permissions_are_enough(guarded: NatsServer) -> None:
    await make_stream(guarded, ADMIN)
    async with client_of(destination(guarded, **LOGIN)) as client:
        assert outcome_of(await client.send(notification())) == Delivered()


async def test_another_host_cannot_be_forged(guarded: NatsServer) -> None:
    """The server refuses its subject; it is named, tried again, and nothing is lost."""
    await make_stream(guarded, ADMIN)
    forged = destination(guarded, **LOGIN, **{"as": "web-18", "inbox_prefix": "_INBOX.web-17"})
    async with client_of(forged) as client:
        response = await client.send(notification())
    assert reason_to_retry(response) is Reason.UNAVAILABLE
    assert response.error == ("the account may not publish to relay.events.web-18.container.die")
    assert response.hint.status == 403
    assert await count_messages(guarded, **ADMIN) == 0


async def test_a_permission_that_is_revoked(guarded: NatsServer) -> None:
    """At run time: the events wait, until it is given again."""
    await make_stream(guarded, ADMIN)
    async with client_of(destination(guarded, **LOGIN)) as client:
        assert outcome_of(await client.send(notification(1))) == Delivered()
        guarded.reload(accounts('{publish: "other", subscribe: "_INBOX.web-17.>"}'))
        refused = await client.send(notification(2))
        assert isinstance(outcome_of(refused), Retry)
        guarded.reload(accounts())
        response = refused
        for _ in range(50):
            response = await client.send(notification(2))
            if response.status == 200:
                break
        assert outcome_of(response) == Delivered()
    assert await count_messages(guarded, **ADMIN) == 2


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({**LOGIN, "inbox_prefix": "_INBOX.other"}, "may not subscribe to _INBOX.other.>"),
        ({"username": "web-17", "password": "wr0ng-password"}, "refused the login"),
        ({}, "refused the login"),
    ],
    ids=["wrong inbox", "wrong password", "no login"],
)
async def test_a_login_that_does_not_work(
    guarded: NatsServer, keys: dict[str, Any], problem: str
) -> None:
    """It is named even if nothing is to be sent; nothing is stored without an answer."""
    await make_stream(guarded, ADMIN)
    to = destination(guarded, timeout={"connect": "500ms"}, **keys)
    async with client_of(to) as client:
        response = await client.send(notification())
        assert client.connection is not None
        assert problem in (client.connection.problem or "")
    assert reason_to_retry(response) is Reason.CONNECTION
    assert problem in (response.error or "")
    assert "password" not in (response.error or "")
    assert await count_messages(guarded, **ADMIN) == 0


# relay check --connect


async def reached(to: NatsDestination) -> Reached:
    found = await reach(to)
    assert found is not None
    return found


async def test_check_stores_nothing(guarded: NatsServer) -> None:
    """It is known whether an event would be stored, and no event is."""
    await make_stream(guarded, ADMIN)
    found = await reached(destination(guarded, **LOGIN))
    assert found.is_reached
    assert found.text.endswith("stream RELAY takes the events of web-17")
    assert await count_messages(guarded, **ADMIN) == 0


async def test_after_a_check_a_stream_with_three_copies_stores_events(tmp_path: Path) -> None:
    """No copy gets to see what the check asks for: one that cannot store it stores nothing more."""
    with running_cluster(tmp_path) as servers:
        async with asyncio.timeout(TIMEOUT_S):
            await make_copied_stream(servers[0])
        to = destination(servers[0])
        assert (await reached(to)).is_reached
        async with client_of(to) as client:
            for number in (1, 2):
                assert outcome_of(await client.send(notification(number))) == Delivered()
                assert (await reached(to)).is_reached
        for server in servers:
            assert await count_messages(server) == 2
            assert "write error" not in server.read_log()


async def make_copied_stream(server: NatsServer) -> None:
    """As soon as the servers have elected a leader."""
    while True:
        try:
            return await make_stream(server, num_replicas=3)
        except RequestError:
            await asyncio.sleep(0.2)


async def test_check_of_a_stream_whose_messages_may_have_a_lifetime(server: NatsServer) -> None:
    """It refuses another thing of the same message."""
    async with connected(server) as admin:
        await create_stream(admin, {**to_builtins(stream_config()), "allow_msg_ttl": True})
    assert (await reached(destination(server))).is_reached
    assert await count_messages(server) == 0


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"stream": "OTHER"}, "another stream than OTHER takes the subject"),
        ({"as": "b", "inbox_prefix": "_INBOX.web-17"}, "may not publish to relay.events.b."),
        ({"inbox_prefix": "_INBOX.x"}, "may not subscribe to _INBOX.x.>"),
        ({"password": "wr0ng-password"}, "refused the login"),
    ],
)
async def test_check_says_what_is_wrong(
    guarded: NatsServer, keys: dict[str, Any], text: str
) -> None:
    await make_stream(guarded, ADMIN)
    times = {"connect": "500ms", "total": "1s"}
    found = await reached(destination(guarded, **{**LOGIN, "timeout": times, **keys}))
    assert not found.is_reached
    assert text in found.text
    assert await count_messages(guarded, **ADMIN) == 0


async def test_check_without_a_stream(server: NatsServer) -> None:
    found = await reached(destination(server))
    assert found == Reached(
        "stream RELAY does not answer: there is none, or it has no leader", is_reached=False
    )


async def test_check_without_a_server(tmp_path: Path) -> None:
    times = {"connect": "100ms", "total": "300ms"}
    to = destination(NatsServer(tmp_path / "nats"), timeout=times)
    found = await reached(to)
    assert not found.is_reached
    assert found.text.endswith("Connection refused")


async def test_check_finds_an_old_server(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_stream(server)
    monkeypatch.setattr("relay.nats.requirements.MIN_SERVER", (99, 0, 0))
    found = await reached(destination(server))
    assert not found.is_reached
    assert "relay needs 2.11 or newer" in found.text
