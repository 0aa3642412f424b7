"""``relay fleet``: makes stream and consumer, prints permissions, and says what is wrong."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli import fleet as command
from relay.nats.connection import NatsConnection
from relay.nats.jetstream import (
    ConsumerInfo,
    StreamInfo,
    call_api,
    consumer_info,
    create_consumer,
    create_stream,
    stream_info,
)
from relay.nats.publisher import Publisher
from relay.nats.puller import Puller
from tests.component.nats_fixtures import connected, consumer_config, stream_config
from tests.support.certificates import Authority
from tests.support.nats_accounts import Account, edge_entry, tls, users
from tests.support.nats_keys import client_keys, write_secret
from tests.support.nats_server import NatsServer, running_cluster, running_server
from tests.unit.cli.cli_store import failure, run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server with JetStream, to which everybody may connect."""
    with running_server(tmp_path / "nats") as running:
        yield running


async def _state(server: NatsServer) -> tuple[StreamInfo, ConsumerInfo]:
    async with connected(server) as admin:
        return await stream_info(admin, "RELAY"), await consumer_info(admin, "RELAY", "HUB")


def _monitor(server: NatsServer) -> str:
    return f"http://127.0.0.1:{server.monitor_port}"


def test_it_makes_a_stream_and_a_consumer(server: NatsServer) -> None:
    """As relay needs them; a second time there is nothing to do."""
    arguments = ("fleet", "setup", "--url", server.url, "--monitor", _monitor(server))
    first, again = run(*arguments, "--max-size", "64MiB"), run(*arguments)
    assert first.exit_code == again.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    assert "nats-server 2." in lines[0]
    assert lines[1:3] == [
        "stream RELAY: made: relay.events.>, workqueue, at most 64 MiB, 1 copy",
        "consumer HUB: made: pinned to one hub, acknowledged within 5 s",
    ]
    assert again.stdout.splitlines()[1:3] == [
        "stream RELAY: is there: relay.events.>, workqueue, at most 64 MiB, 1 copy",
        "consumer HUB: is there",
    ]
    stream, consumer = asyncio.run(_state(server))
    config = stream.config
    assert (config.retention, config.discard, config.storage) == ("workqueue", "new", "file")
    assert (config.max_bytes, config.duplicate_window) == (2**26, 600 * 10**9)
    assert config.compression == "s2"
    assert consumer.config.priority_policy == "pinned_client"
    assert consumer.config.max_deliver == -1


def test_in_a_cluster_there_are_three_copies(tmp_path: Path) -> None:
    """Unless something else is asked for; servers that have just started elect a leader first."""
    with running_cluster(tmp_path) as servers:
        result = run("fleet", "setup", "--url", servers[0].url)
        assert "3 copies" in result.stdout, result.output
        stream, _ = asyncio.run(_state(servers[1]))
    assert stream.config.num_replicas == 3


def test_the_permissions_that_it_prints_are_enough_and_no_more(tmp_path: Path) -> None:
    """A server with exactly these accounts carries an event from the host to the hub."""
    admin, hub, host = (Account(tmp_path, name) for name in ("admin", "hub", "web-17"))
    with running_server(tmp_path / "nats", users(admin.may_do_all())) as server:
        result = run(
            *("fleet", "setup", "--url", server.url, "--nkey-file", str(admin.seed_file)),
            *("--hub-key", hub.public_key, "--host", f"web-17={host.public_key}"),
            *("--host", "db-1"),
        )
        assert result.exit_code == 0, result.output
        printed = result.stdout.split("\n\n")[1]
        assert 'user: "NAME", password: "PASSWORD"' in printed  # the host without a key
        server.reload(users(admin.may_do_all(), printed))
        asyncio.run(_carry(server, hub, host))


async def _carry(server: NatsServer, hub: Account, host: Account) -> None:
    keys = client_keys(server, name="HUB", nkey_file=hub.seed_file)
    reading = NatsConnection("hub", keys)
    puller = Puller(reading, "RELAY", "HUB")
    await reading.open()
    async with connected(server, nkey_file=host.seed_file) as sending:
        publisher = Publisher(sending, "RELAY")
        await publisher.publish("relay.events.web-17.container.die", b"1")
    (message,) = await puller.pull(10, 10)
    await puller.ack([message])
    assert await stream_info(reading, "RELAY")
    assert puller.problem is None
    await reading.close()


def test_what_differs_is_shown_and_changed_only_if_asked(server: NatsServer) -> None:
    """With --dry-run nothing is made; what is wrong is an error, and --update repairs it."""
    url = ("fleet", "setup", "--url", server.url)
    dry = run(*url, "--dry-run")
    assert "stream RELAY: would be made" in dry.stdout
    assert "consumer HUB: would be made" in dry.stdout
    asyncio.run(_make_wrong(server))
    wrong = run(*url)
    assert failure(wrong) == "not all is as it has to be"
    assert "discard old -> new" in wrong.stdout
    assert "error: the stream RELAY drops the oldest messages" in wrong.stdout
    assert "max_deliver 3 -> unlimited" in wrong.stdout
    assert "--update changes it" in wrong.stdout
    before, _ = asyncio.run(_state(server))
    assert before.config.discard == "old"
    assert run(*url, "--update", "--dry-run").exit_code == 1
    assert asyncio.run(_state(server))[0].config.discard == "old"
    updated = run(*url, "--update", "--max-size", "32MiB")
    assert updated.exit_code == 0, updated.output
    stream, consumer = asyncio.run(_state(server))
    assert (stream.config.discard, stream.config.max_bytes) == ("new", 2**25)
    assert stream.config.description == "of somebody"
    assert consumer.config.max_deliver == -1
    assert run(*url).exit_code == 0


async def _make_wrong(server: NatsServer) -> None:
    async with connected(server) as admin:
        await create_stream(admin, stream_config(discard="old", description="of somebody"))
        right = {"ack_wait": 5 * 10**9, "priority_timeout": 10 * 10**9}
        await create_consumer(admin, "RELAY", consumer_config(max_deliver=3, **right))


def test_an_administrators_own_times_are_no_fault(server: NatsServer) -> None:
    """What differs and does no harm is shown; the exit code is 0."""
    asyncio.run(_make_slow(server))
    result = run("fleet", "setup", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "ack_wait 8s -> 5s" in result.stdout


async def _make_slow(server: NatsServer) -> None:
    async with connected(server) as admin:
        await create_stream(admin, stream_config())
        times = {"ack_wait": 8 * 10**9, "priority_timeout": 20 * 10**9}
        await create_consumer(admin, "RELAY", consumer_config(**times))


def test_a_stream_of_others_stays_theirs(server: NatsServer) -> None:
    """Its other subjects and a second reader are left alone; what relay needs is added."""

    async def make() -> None:
        async with connected(server) as admin:
            shared = {"subjects": ("other.>",), "retention": "interest", "no_ack": True}
            await create_stream(admin, stream_config(**shared))
            extra = {"max_batch": 5, "headers_only": True, "inactive_threshold": 10**12}
            right = {"ack_wait": 5 * 10**9, "priority_timeout": 10 * 10**9}
            await create_consumer(admin, "RELAY", consumer_config(**right, **extra))

    asyncio.run(make())
    result = run("fleet", "setup", "--url", server.url, "--update")
    assert result.exit_code == 0, result.output
    assert "subjects other.> -> other.> relay.events.>" in result.stdout
    stream, consumer = asyncio.run(_state(server))
    assert stream.config.subjects == ["other.>", "relay.events.>"]
    assert stream.config.retention == "interest"
    assert not stream.config.no_ack
    assert consumer.config.max_batch == 0
    assert not consumer.config.headers_only
    assert consumer.config.inactive_threshold == 0
    again = run("fleet", "setup", "--url", server.url)
    assert again.exit_code == 0
    assert "differs" not in again.stdout


def test_a_server_without_room(tmp_path: Path) -> None:
    """It says what to raise, when the stream is made and when it grows."""
    with running_server(tmp_path / "nats", jetstream="max_file: 8MB") as server:
        arguments = ("fleet", "setup", "--url", server.url, "--max-size")
        text = failure(run(*arguments, "1GiB"))
        assert text.startswith("stream RELAY cannot be made: insufficient storage resources")
        assert "raise max_file_store of the servers" in text
        assert run(*arguments, "4MiB").exit_code == 0
        text = failure(run(*arguments, "1GiB", "--update"))
        assert text.startswith("stream RELAY cannot be changed: ")
        assert "raise max_file_store of the servers" in text


def test_what_cannot_be_changed_is_said(server: NatsServer) -> None:
    """A server does not turn a stream that keeps everything into a queue."""

    async def make() -> None:
        async with connected(server) as admin:
            await create_stream(admin, stream_config(retention="limits"))

    asyncio.run(make())
    result = run("fleet", "setup", "--url", server.url, "--update")
    text = failure(result)
    assert text.startswith("stream RELAY cannot be changed: ")
    assert text.endswith("make it anew when it is empty")


def test_it_asks_whether_servers_sync(tmp_path: Path) -> None:
    """One that confirms before it syncs is an error; without its port that is not known."""
    with running_server(tmp_path / "nats", jetstream="sync_interval: 2m") as server:
        unknown = run("fleet", "setup", "--url", server.url)
        assert unknown.exit_code == 0
        assert "note: whether the servers write each message to disk" in unknown.stdout
        known = run("fleet", "setup", "--url", server.url, "--monitor", _monitor(server))
        assert failure(known)
        assert "set sync_interval to always" in known.stdout
        port = run("fleet", "setup", "--url", server.url, "--monitor", "http://127.0.0.1:1")
        assert "error: http://127.0.0.1:1 cannot be asked: Connection refused" in port.stdout
        client_port = f"http://127.0.0.1:{server.port}"
        wrong = run("fleet", "setup", "--url", server.url, "--monitor", client_port)
        assert f"error: {client_port} is not the monitoring port of a nats-server" in wrong.stdout
        for text in ("file:///etc/passwd", "http://a b:8222", "http://a:x", "http://[::1"):
            odd = run("fleet", "setup", "--url", server.url, "--monitor", text)
            assert f"error: {text!r} is not the URL of a monitoring port" in odd.stdout


def test_an_account_that_may_not(tmp_path: Path) -> None:
    """Which right is missing is said; so is a wrong password, which is not repeated."""
    account = Account(tmp_path, "admin")
    entry = account.may(publish=["$JS.API.STREAM.INFO.RELAY"], subscribe=["_INBOX.setup.>"])
    with running_server(tmp_path / "nats", users(entry)) as server:
        arguments = ("fleet", "setup", "--url", server.url, "--nkey-file", str(account.seed_file))
        assert failure(run(*arguments)) == (
            "the account may not publish to $JS.API.STREAM.CREATE.RELAY"
        )
        secret = write_secret(tmp_path, "password", "guess-me\n")
        wrong = run(
            *("fleet", "setup", "--url", server.url, "--username", "admin"),
            *("--password-file", str(secret)),
        )
        assert failure(wrong).endswith("refused the login (authorization violation)")
        assert "guess-me" not in wrong.output
        assert wrong.stderr == ""


def test_over_tls(tmp_path: Path) -> None:
    """The certificate of the server is checked."""
    authority = Authority(tmp_path)
    with running_server(tmp_path / "nats", tls(authority), scheme="tls") as server:
        arguments = ("fleet", "setup", "--url", server.url)
        assert "certificate" in failure(run(*arguments)).lower()
        assert run(*arguments, "--ca-file", str(authority.certificate)).exit_code == 0
        plain = (*arguments[:-1], "nats://nats1", "--ca-file", str(authority.certificate))
        assert "--ca-file: is for tls:// URLs only" in run(*plain).output


def test_the_login_of_a_host_makes_nothing(tmp_path: Path) -> None:
    """It says whose login it needs."""
    host = Account(tmp_path, "web-17")
    with running_server(tmp_path / "nats", users(edge_entry(host))) as server:
        text = failure(
            run("fleet", "setup", "--url", server.url, "--nkey-file", str(host.seed_file))
        )
    assert "may not subscribe to _INBOX.setup.>" in text
    assert "Is this the administrator's login?" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--url", "http://nats1"), "is not the URL of a NATS server"),
        (("--url", "nats://a:b@nats1"), "holds a user"),
        ((), "Missing option '--url'"),
        (("--url", "nats://nats1", "--stream", "a.b"), "is not the name of a stream"),
        (("--url", "nats://nats1", "--max-size", "much"), "'much'"),
        (("--url", "nats://nats1", "--host", "a.b"), "cannot be a part of a subject"),
        (("--url", "nats://nats1", "--host", "a=SUxyz"), "is not the public key of a user"),
        (("--url", "nats://nats1", "--username", "me"), "'username' and 'password' go together"),
        (("--url", "nats://nats1", "--nkey-file", "a", "--creds-file", "b"), "exclude each other"),
        (("--url", "nats://nats1", "--token-file", "/nowhere"), "No such file or directory"),
        (("--url", "nats://nats1", "--ca-file", "ca.pem"), "is for tls:// URLs only"),
        (("--url", "tls://nats1", "--cert-file", "a"), "'cert_file' and 'key_file' go together"),
    ],
)
def test_bad_options(arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2, before anything is connected."""
    result = run("fleet", "setup", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output


def test_no_jetstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, since servers that have just started have none yet, and then said."""
    monkeypatch.setattr(command, "PATIENCE_S", 0.01)
    monkeypatch.setattr(command, "RETRY_S", 0.01)
    with running_server(tmp_path / "nats", jetstream=None) as server:
        text = failure(run("fleet", "setup", "--url", server.url))
    assert text.startswith("JetStream does not answer: ")
    assert "are most of them running?" in text


def test_the_answer_of_a_server_of_another_kind(tmp_path: Path) -> None:
    """A stream with keys that this relay does not know keeps them when it is changed."""
    with running_server(tmp_path / "nats") as server:

        async def make() -> None:
            async with connected(server) as admin:
                body = {
                    **json.loads(b'{"metadata": {"team": "ops"}, "allow_direct": true}'),
                    **{"name": "RELAY", "subjects": ["relay.events.>"], "discard": "old"},
                    **{"retention": "workqueue", "max_bytes": 2**20},
                }
                await call_api(admin, "STREAM.CREATE.RELAY", dict[str, Any], body)

        async def read() -> dict[str, Any]:
            async with connected(server) as admin:
                found = await call_api(admin, "STREAM.INFO.RELAY", dict[str, Any])
                config: dict[str, Any] = found["config"]
                return config

        asyncio.run(make())
        assert run("fleet", "setup", "--url", server.url, "--update").exit_code == 0
        config = asyncio.run(read())
    assert config["discard"] == "new"
    assert config["allow_direct"] is True
    assert config["metadata"]["team"] == "ops"
