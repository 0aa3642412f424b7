"""The connection to real NATS servers: it stays, and says in words why there is none."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from relay.nats import connection as connection_module
from relay.nats.client import OneConnection
from relay.nats.connection import ConnectionState, NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.login import Login
from tests.component.nats_fixtures import connected
from tests.support.certificates import Authority
from tests.support.nats_accounts import Account, edge_entry, tls, users
from tests.support.nats_jwt import make_credentials
from tests.support.nats_keys import client_keys, write_secret
from tests.support.nats_server import NatsServer, free_ports, running_cluster, running_server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again soon."""
    monkeypatch.setattr(connection_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(connection_module, "MIN_WAIT_S", 0.02)
    monkeypatch.setattr(connection_module, "MAX_WAIT_S", 0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server with JetStream, to which everybody may connect."""
    with running_server(tmp_path / "nats") as running:
        yield running


async def _problem(connection: NatsConnection) -> str:
    """Return why there is no connection, as soon as that is known."""
    async with asyncio.timeout(10):
        while connection.problem is None:
            await asyncio.sleep(0.01)
    assert not connection.is_connected
    return connection.problem


async def _problem_of(connection: NatsConnection) -> str:
    await connection.open()
    try:
        return await _problem(connection)
    finally:
        await connection.close()


async def test_a_request_gets_its_answer(server: NatsServer) -> None:
    """What the server is, and what it answers, is known."""
    async with connected(server) as connection:
        answer = await connection.request("$JS.API.INFO", timeout_s=5)
        assert b"account_info_response" in answer.body
        assert connection.server.jetstream
        assert connection.server.version_tuple >= (2, 11, 0)
        assert connection.server.max_payload == 1_048_576
    assert connection.state is ConnectionState.CLOSED
    with pytest.raises(RequestError) as caught:
        await connection.request("$JS.API.INFO", timeout_s=5)
    assert caught.value.kind is FailureKind.NOT_CONNECTED


async def test_requests_at_the_same_time_get_their_own_answers(server: NatsServer) -> None:
    """Answers are not mixed up."""
    async with connected(server, name="a") as one, connected(server, name="b") as other:

        def echo(message: connection_module.Message) -> None:
            asyncio.get_running_loop().create_task(other.publish(message.reply, message.body))

        await other.close()
        other.listen("echo", echo)
        await other.open()
        assert await other.wait_open(5)
        answers = await asyncio.gather(
            *(one.request("echo", str(number).encode(), timeout_s=5) for number in range(100))
        )
        assert [answer.body for answer in answers] == [b"%d" % number for number in range(100)]


async def test_a_subject_that_nobody_listens_to_fails_at_once(server: NatsServer) -> None:
    """The kind says that it can be tried again."""
    async with connected(server) as connection:
        with pytest.raises(RequestError, match="nobody listens to nowhere") as caught:
            await connection.request("nowhere", timeout_s=5)
        assert caught.value.kind is FailureKind.NO_RESPONDERS


async def test_a_message_that_is_too_long_keeps_the_connection(server: NatsServer) -> None:
    """The server would end the connection; relay refuses before, headers included."""
    async with connected(server) as connection:
        limit = connection.server.max_payload
        for body, headers in ((b"x" * (limit + 1), None), (b"x" * limit, {"A": "b"})):
            with pytest.raises(RequestError, match=f"the server takes {limit}") as caught:
                await connection.request("relay", body, headers, timeout_s=5)
            assert caught.value.kind is FailureKind.TOO_LARGE
        assert connection.opened_count == 1
        assert connection.is_connected


async def test_a_killed_server_fails_requests_at_once_and_is_connected_again(
    server: NatsServer,
) -> None:
    """Nothing waits for a server that is gone, and nothing is sent later by surprise."""
    opened = []
    async with connected(server, name="a") as connection:
        connection.on_open(lambda: opened.append(connection.opened_count))
        received: list[bytes] = []
        async with connected(server, name="b") as other:
            other.listen("silent", lambda message: received.append(message.body))
            await other.close()
            await other.open()
            assert await other.wait_open(5)
            waiting = asyncio.create_task(connection.request("silent", b"1", timeout_s=60))
            async with asyncio.timeout(5):
                while not received:
                    await asyncio.sleep(0.01)
            server.kill()
            with pytest.raises(RequestError) as caught:
                await waiting
            assert caught.value.kind is FailureKind.NOT_CONNECTED
            with pytest.raises(RequestError) as caught:
                await connection.request("silent", b"2", timeout_s=60)
            assert caught.value.kind is FailureKind.NOT_CONNECTED
            assert "Connection refused" in await _refused(connection)
            server.start()
            assert await connection.wait_open(10)
            assert await other.wait_open(10)
            await connection.publish("silent", b"3")
            async with asyncio.timeout(5):
                while len(received) < 2:
                    await asyncio.sleep(0.01)
            assert received == [b"1", b"3"]
            assert connection.problem is None
            assert opened == [2]


async def _refused(connection: NatsConnection) -> str:
    async with asyncio.timeout(10):
        while "refused" not in (connection.problem or ""):
            await asyncio.sleep(0.01)
    return connection.problem or ""


async def test_a_hanging_server_is_given_up(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that stays open while nothing answers is found by pings."""
    client = pytest.importorskip("relay.nats.client")
    monkeypatch.setattr(client, "PING_INTERVAL_S", 0.05)
    async with connected(server) as connection:
        server.pause()
        try:
            async with asyncio.timeout(10):
                while connection.is_connected:
                    await asyncio.sleep(0.01)
        finally:
            server.resume()
        assert await connection.wait_open(10)


async def test_nothing_is_left_of_a_connection_to_a_hanging_server(server: NatsServer) -> None:
    """Not even the socket, with all that the server has not taken."""
    async with connected(server) as connection:
        descriptors = _count_descriptors()
        server.pause()
        requests = (
            connection.request("relay.events.a.b.c", bytes(10**6), timeout_s=0.5) for _ in range(16)
        )
        found = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(each) for each in found} == {RequestError}
        await connection.close()
        await asyncio.sleep(0)
        assert _count_descriptors() == descriptors - 1


def _count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def test_another_server_of_the_cluster_takes_over(tmp_path: Path) -> None:
    """A server that is gone is left for another one that the configuration names."""
    with running_cluster(tmp_path) as servers:
        async with connected(*servers) as connection:
            name = connection.server.name
            next(
                it for it in servers if f"server_name: {name}" in it.config_file.read_text()
            ).kill()
            async with asyncio.timeout(10):
                while connection.opened_count < 2:
                    await asyncio.sleep(0.01)
            assert connection.server.name != name


async def test_nobody_there_is_said_in_words(tmp_path: Path) -> None:
    """An address where nothing listens, and a name that nobody knows."""
    port = free_ports(1)[0]
    problem = await _problem_of(NatsConnection("a", client_keys(f"nats://127.0.0.1:{port}")))
    assert problem == f"127.0.0.1:{port}: Connection refused"
    unknown = await _problem_of(NatsConnection("a", client_keys("nats://nobody.invalid")))
    assert unknown.startswith("nobody.invalid:4222: ")


async def test_what_is_no_nats_server_is_said_in_words() -> None:
    """A web server at the address, and one that closes the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        problem = await _problem_of(NatsConnection("a", client_keys(f"nats://127.0.0.1:{port}")))
    assert "expecting INFO" in problem


async def test_the_same_problem_is_logged_once(tmp_path: Path) -> None:
    """A server that is away for a day does not fill the log."""
    keys = client_keys(f"nats://127.0.0.1:{free_ports(1)[0]}")
    waits = iter(range(20))
    tried = asyncio.Event()

    def count() -> float:
        if next(waits, None) is None:
            tried.set()
        return 0.0

    connection = NatsConnection("a", keys, random_=count)
    with capture_logs() as logs:
        await connection.open()
        async with asyncio.timeout(10):
            await tried.wait()
        await connection.close()
    assert [entry["event"] for entry in logs] == ["nats.not_connected"]


async def test_passwords_and_tokens(tmp_path: Path) -> None:
    """The right ones are taken; a wrong one is said, and not what it is."""
    config = 'authorization { users: [{ user: "web-17", password: "right-secret" }] }'
    with running_server(tmp_path / "nats", config) as server:
        async with connected(server, username="web-17", password="right-secret"):
            pass
        wrong = NatsConnection("a", client_keys(server, username="web-17", password="wrong-one"))
        with capture_logs() as logs:
            problem = await _problem_of(wrong)
    assert problem == f"127.0.0.1:{server.port}: refused the login (authorization violation)"
    assert "wrong-one" not in str(logs)
    with running_server(tmp_path / "other", 'authorization { token: "a-token" }') as server:
        async with connected(server, token="a-token"):
            pass


async def test_an_nkey_is_read_at_each_connection(tmp_path: Path) -> None:
    """A renewed seed needs no reload of relay, and a seed that is none is said."""
    account, other = Account(tmp_path, "web-17"), Account(tmp_path, "new")
    with running_server(tmp_path / "nats", users(edge_entry(account))) as server:
        async with connected(server, nkey_file=account.seed_file) as connection:
            server.reload(users(edge_entry(other, "web-17")))
            async with asyncio.timeout(10):
                while "refused the login" not in (connection.problem or ""):
                    await asyncio.sleep(0.01)
            account.seed_file.write_text("SUBROKEN")
            async with asyncio.timeout(10):
                while "nkey_file" not in (connection.problem or ""):
                    await asyncio.sleep(0.01)
            assert "is not the seed of an nkey" in (connection.problem or "")
            account.seed_file.write_text(other.seed_file.read_text())
            assert await connection.wait_open(10)


async def test_credentials(tmp_path: Path) -> None:
    """A JWT and the seed of its user, as nsc writes them; those of another operator are refused."""
    config, file = make_credentials(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, foreign = make_credentials(other)
    with running_server(tmp_path / "nats", config, jetstream=None) as server:
        async with connected(server, creds_file=file) as connection:
            with pytest.raises(RequestError, match="nobody listens"):
                await connection.request("nowhere", timeout_s=5)
        problem = await _problem_of(NatsConnection("a", client_keys(server, creds_file=foreign)))
    assert problem.endswith("refused the login (authorization violation)")


async def test_files_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    """A file that is missing, too long, or something else."""
    cases = {
        "nkey_file": {
            None: "No such file or directory",
            "not a seed": "is not the seed of an nkey",
            "ä": "is not a text",
            "A" * 70_000: "is longer than 65536 bytes",
        },
        "creds_file": {None: "No such file or directory", "SUAB": "holds no credentials"},
    }
    for key, texts in cases.items():
        for text, words in texts.items():
            file = tmp_path / "secret"
            file.unlink(missing_ok=True)
            if text is not None:
                write_secret(tmp_path, "secret", text)
            keys = client_keys("nats://127.0.0.1:1", **{key: file})
            problem = await _problem_of(NatsConnection("a", keys))
            assert problem.startswith(f"{key}: {file}: ")
            assert words in problem


async def test_the_login_is_used_where_none_is_required(tmp_path: Path) -> None:
    """A server with a user for those who have no login; they need none."""
    account = Account(tmp_path, "web-17")
    entries = users("{ user: guest, password: unused }", edge_entry(account))
    with running_server(tmp_path / "nats", f"{entries}no_auth_user: guest\n") as server:
        keys = client_keys(server, nkey_file=account.seed_file, inbox_prefix="_INBOX.other")
        assert "may not subscribe to _INBOX.other.>" in await _problem_of(NatsConnection("x", keys))
        async with connected(server, name="guest"):
            pass


async def test_tls(tmp_path: Path) -> None:
    """The server's certificate is checked, and a client's is shown if the server wants one."""
    authority = Authority(tmp_path)
    with running_server(tmp_path / "nats", tls(authority), scheme="tls") as server:
        async with connected(server, tls={"ca_file": authority.certificate}):
            pass
        problem = await _problem_of(NatsConnection("a", client_keys(server)))
        assert "TLS: the certificate is not accepted: " in problem
    certificate, key = authority.issue("client")
    block = tls(authority).replace(" }", f', ca_file: "{authority.certificate}", verify: true }}')
    with running_server(tmp_path / "mutual", block, scheme="tls") as server:
        files = {"ca_file": authority.certificate, "cert_file": certificate, "key_file": key}
        async with connected(server, tls=files):
            pass


async def test_the_end_of_an_encrypted_connection_logs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither asyncio nor nats-py, whose lines would stand between those of relay."""
    authority = Authority(tmp_path)
    with running_server(tmp_path / "nats", tls(authority), scheme="tls") as server:
        async with connected(server, tls={"ca_file": authority.certificate}) as connection:
            server.kill()
            async with asyncio.timeout(10):
                while connection.is_connected:
                    await asyncio.sleep(0.01)
    assert caplog.records == []


async def test_a_wrong_login_over_tls_is_said_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes the connection while the login is still being sent."""
    monkeypatch.setattr(connection_module, "MIN_WAIT_S", 0.0)
    monkeypatch.setattr(connection_module, "MAX_WAIT_S", 0.0)
    authority = Authority(tmp_path)
    config = tls(authority) + 'authorization { users: [{ user: "web-17", password: "right" }] }'
    with running_server(tmp_path / "nats", config, scheme="tls") as server:
        keys = client_keys(
            server, username="web-17", password="wrong", tls={"ca_file": authority.certificate}
        )
        connection = NatsConnection("a", keys)
        with capture_logs() as logs:
            await connection.open()
            for _ in range(10):
                connection._tried.clear()
                assert not await connection.try_open(5)
            await connection.close()
    (line,) = logs
    assert line["error"] == f"127.0.0.1:{server.port}: refused the login (authorization violation)"


async def test_an_encrypted_connection_that_was_closed_twice_can_be_ended(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio of Python 3.11.2 has it after a refused login: it forgot what it has to abort."""
    client = OneConnection(needs_tls=False, on_error=lambda _: None)
    await client.open(server.url, Login(), None, name="a", timeout_s=5)
    ask = Mock(side_effect=AttributeError("'NoneType' object has no attribute '_get…'"))
    transport = SimpleNamespace(get_write_buffer_size=ask, abort=ask)
    await client.close()
    monkeypatch.setattr(client._transport, "_io_writer", SimpleNamespace(transport=transport))
    await client.shut()
    ask.assert_called_once()
    assert client.lost.is_set()


async def test_tls_is_not_given_up_silently(tmp_path: Path) -> None:
    """With tls:// nothing of the login goes to a server that does not encrypt."""
    config = 'authorization { users: [{ user: "a", password: "b" }] }'
    with running_server(tmp_path / "nats", config) as server:
        url = server.url.replace("nats://", "tls://")
        keys = client_keys(url, username="a", password="b")
        problem = await _problem_of(NatsConnection("a", keys))
        assert problem.endswith("does not require TLS, and the URL says tls://")
        log = server.read_log()
    assert "authentication error" not in log


async def test_a_subject_of_another_host_is_refused_at_once(tmp_path: Path) -> None:
    """The kind and the words say that it is a permission, without waiting for an answer."""
    account = Account(tmp_path, "web-17")
    with running_server(tmp_path / "nats", users(edge_entry(account))) as server:
        async with connected(server, nkey_file=account.seed_file) as connection:
            with pytest.raises(RequestError) as caught:
                await connection.request("relay.events.DB-1.container.die", b"", timeout_s=60)
    assert caught.value.kind is FailureKind.PERMISSION
    assert str(caught.value) == "the account may not publish to relay.events.DB-1.container.die"


async def test_an_inbox_that_is_not_allowed_is_no_connection(tmp_path: Path) -> None:
    """Otherwise messages would be stored, and nobody would learn of it."""
    account = Account(tmp_path, "web-17")
    with running_server(tmp_path / "nats", users(edge_entry(account))) as server:
        keys = client_keys(server, nkey_file=account.seed_file, inbox_prefix="_INBOX.other")
        problem = await _problem_of(NatsConnection("a", keys))
    assert problem == (
        "the account may not subscribe to _INBOX.other.>: allow it, or set 'inbox_prefix' to what "
        "it may subscribe to"
    )


async def test_a_permission_can_be_taken_away_and_given_back(tmp_path: Path) -> None:
    """Publishing fails with words while it is not allowed; the daemon needs no restart."""
    account = Account(tmp_path, "web-17")
    allowed = users(edge_entry(account))
    revoked = users(account.may(publish=["nothing"], subscribe=["_INBOX.web-17.>"]))
    subject = "relay.events.web-17.container.die"
    with running_server(tmp_path / "nats", allowed) as server:
        async with connected(server, nkey_file=account.seed_file) as connection:
            server.reload(revoked)
            async with asyncio.timeout(20):
                kind = None
                while kind is not FailureKind.PERMISSION:
                    kind = await _kind_of(connection, subject)
            server.reload(allowed)
            async with asyncio.timeout(20):
                while kind is not FailureKind.NO_RESPONDERS:  # there is no stream
                    kind = await _kind_of(connection, subject)


async def _kind_of(connection: NatsConnection, subject: str) -> FailureKind:
    with pytest.raises(RequestError) as caught:
        await connection.request(subject, b"", timeout_s=5)
    await asyncio.sleep(0.01)
    return caught.value.kind


async def test_it_is_closed_even_if_a_cancellation_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nats-py loses one while it connects: the end of relay would wait for ever."""
    swallowed = asyncio.Event()

    async def connect(_: NatsConnection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(NatsConnection, "_connect", connect)
    connection = NatsConnection("test", client_keys("nats://127.0.0.1:1"))
    await connection.open()
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await connection.close()
    assert swallowed.is_set()
    assert connection.state is ConnectionState.CLOSED
