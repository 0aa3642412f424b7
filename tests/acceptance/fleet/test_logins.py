"""Hosts with accounts of their own, made as ``relay fleet setup`` says: what they may and may not.

Nobody can speak for another host, and whatever an administrator takes away is named and waits.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.nats.connection import NatsConnection
from relay.nats.message import encode_event, message_headers
from relay.nats.publisher import Publisher
from relay.nats.subjects import event_subject
from tests.support.certificates import Authority
from tests.support.fleet import STREAM, Fleet, running_fleet
from tests.support.fleet_ledger import is_clean
from tests.support.fleet_relays import run_command
from tests.support.nats_accounts import Account, tls, users
from tests.support.nats_keys import client_keys
from tests.support.nats_server import running_server
from tools.fleet_hosts import death

HOST, OTHER = "web-17", "web-18"
TITLE = "# What accounts may do. deploy/fleet/prepare has put it into the servers' list of users.\n"


class Guarded:
    """A server with TLS, where each host and the hub log in with an nkey."""

    def __init__(self, fleet: Fleet, authority: Authority, accounts: dict[str, Account]) -> None:
        self.fleet = fleet
        self._authority = authority
        self._accounts = accounts
        self._printed = ""

    def config(self) -> str:
        """Return the server's configuration, with the rights that the command printed."""
        return tls(self._authority) + users(self._accounts["admin"].may_do_all(), self._printed)

    async def set_up(self) -> None:
        """Make the stream, and give everyone the rights that the command prints."""
        accounts = self._accounts
        (server,) = self.fleet.servers
        code, output = await run_command(
            *("fleet", "setup", "--url", server.url, "--ca-file", self._authority.certificate),
            *("--nkey-file", accounts["admin"].seed_file, "--max-size", "64MiB"),
            *("--hub-key", accounts["hub"].public_key),
            *(f"--host={it}={accounts[it].public_key}" for it in (HOST, OTHER)),
        )
        assert code == 0, output
        self._printed = output.partition(TITLE)[2]
        assert self._printed, output
        server.reload(self.config())

    def keys(self, account: str) -> dict[str, Any]:
        """Return the keys with which an account logs in."""
        return {
            "nkey_file": str(self._accounts[account].seed_file),
            "tls": {"ca_file": str(self._authority.certificate)},
        }

    def revoke(self, subject: str) -> None:
        """Take the right to a subject away from whoever has it."""
        self.fleet.servers[0].reload(self.config().replace(f'"{subject}"', '"nothing"'))

    def give_back(self) -> None:
        """End `revoke`."""
        self.fleet.servers[0].reload(self.config())


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls")
    accounts = {name: Account(tmp_path, name) for name in ("admin", "hub", HOST, OTHER)}
    config = tls(authority) + users(accounts["admin"].may_do_all())
    with running_server(tmp_path / "nats", config, scheme="tls") as server:
        async with running_fleet(tmp_path, [server]) as fleet:
            made = Guarded(fleet, authority, accounts)
            fleet.admin_keys = made.keys("admin")
            await made.set_up()
            yield made


async def test_nobody_speaks_for_another_host(guarded: Guarded) -> None:
    """A relay that calls itself like another host stores nothing, says why, and loses nothing."""
    fleet = guarded.fleet
    forger = await fleet.add_edge(
        HOST, **{**guarded.keys(HOST), "as": OTHER, "inbox_prefix": f"_INBOX.{HOST}"}
    )
    forger.happen("web-1")
    await forger.wait_for_status(f"the account may not publish to relay.events.{OTHER}.")
    assert (await fleet.stream_info()).state.messages == 0
    assert await forger.count_dead_letters() == 0


async def test_a_body_that_claims_to_be_of_another_host(guarded: Guarded) -> None:
    """The hub shows the host of the subject, for which the server vouches."""
    fleet = guarded.fleet
    await fleet.add_hub(**guarded.keys("hub"))
    (server,) = fleet.servers
    connection = NatsConnection(HOST, client_keys(server, name=HOST, **guarded.keys(HOST)))
    await connection.open()
    try:
        assert await connection.wait_open(10.0), connection.problem
        event = death(OTHER, 0)
        await Publisher(connection, STREAM).publish(
            event_subject(HOST, event.type, event.action),
            encode_event(OTHER, event),
            message_headers(OTHER, event),
        )
    finally:
        await connection.close()
    await fleet.hook.wait_for(lambda: bool(fleet.ledger.ids))
    ((host, _, _),) = fleet.ledger.ids
    assert host == HOST


async def test_a_right_is_taken_away(guarded: Guarded) -> None:
    """At run time: events wait, the reason is named, and nothing becomes a dead letter."""
    fleet = guarded.fleet
    await fleet.add_hub(**guarded.keys("hub"))
    edge = await fleet.add_edge(HOST, **guarded.keys(HOST))
    edge.happen("web-1")
    await fleet.wait_arrived()
    guarded.revoke(f"relay.events.{HOST}.>")
    edge.happen("web-1", 3)
    await edge.wait_for_status(f"may not publish to relay.events.{HOST}.")
    assert fleet.ledger.missing == 3
    guarded.give_back()
    await fleet.wait_arrived()
    assert is_clean(fleet.ledger.verdict()), fleet.ledger.verdict()
    assert await edge.count_dead_letters() == 0


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
async def test_relay_check_tries_the_inbox(guarded: Guarded, is_right: bool) -> None:
    """With a wrong prefix a message would be stored, and nobody would learn of it."""
    keys = guarded.keys(HOST)
    if not is_right:
        keys["inbox_prefix"] = "_INBOX.another"
    edge = guarded.fleet.make_edge(HOST, **keys)
    _, output = await edge.command("check", "--connect")
    assert ("takes the events of web-17" in output) is is_right
    assert ("may not subscribe to _INBOX.another.>" in output) is not is_right
    assert (await guarded.fleet.stream_info()).state.messages == 0
