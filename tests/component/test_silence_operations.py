"""Silences over the API and the control socket, and in a store without a relay."""

import socket
from time import time_ns
from typing import Any

import aiohttp
import msgspec
import pytest

from relay.admin.operation import Refused
from relay.admin.operations import LocalOperations
from relay.incidents.incidents import EngineClocks, Incidents
from relay.incidents.rows import decode_rows
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.silence_view import SilenceState, SilenceView
from relay.store.outbox import open_outbox
from tests.component.daemon_with_config import DaemonWithConfig, http_destination
from tests.component.scripted_engine import ScriptedEngine
from tests.unit.incidents.world import Setup

DEATHS = {"name": "deaths", "match": {"action": "die"}, "to": ["ops"]}
TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WEB = SilenceRequest("deploy", "ann", {"name": "web"})


def config(url: str, **more: Any) -> dict[str, Any]:
    ops = http_destination(url, notify="incidents", group_wait="0s", group_interval="1s")
    return {"destinations": {"ops": ops}, "routes": [DEATHS], **more}


async def test_silences_survive_relay(
    daemon: DaemonWithConfig, engine: ScriptedEngine, url: str
) -> None:
    """What was added to a running relay is there after its end, and in the next one."""
    async with daemon.running(**config(url)), daemon.operations() as operations:
        added = await operations.add_silence(WEB)
        assert (added.id, added.state, added.matching) == (1, SilenceState.ACTIVE, 0)
        assert await operations.list_silences() == [added]
    async with open_outbox(daemon.store) as outbox:
        local = LocalOperations(outbox, tuple, time_ns, engines=["here"], routes=["deaths"])
        (found,) = await local.list_silences()
        assert found == added
        second = await local.add_silence(SilenceRequest("b", "bob", {"route": "deaths"}))
        assert second.id == 2
        ended = await local.expire_silence(1)
        assert (ended.state, ended.expired_ns is None) == (SilenceState.OVER, False)
    again = DaemonWithConfig(daemon.store.parent, engine)
    async with again.running(**config(url)), again.operations() as operations:
        assert [each.id for each in await operations.list_silences()] == [2]
        everything = await operations.list_silences(include_over=True)
        assert [each.id for each in everything] == [2, 1]
        later = await operations.expire_silence(2, after_s=60)
        assert later.state is SilenceState.ACTIVE
        assert later.until_ns <= time_ns() + 60 * 10**9


async def test_what_cannot_be_had_is_refused(daemon: DaemonWithConfig, url: str) -> None:
    """With the same words by a running relay, and without one."""
    nonsense = SilenceRequest("deploy", "ann", {"projct": "shop"})
    async with daemon.running(**config(url)), daemon.operations() as operations:
        with pytest.raises(Refused, match=r"unknown key 'projct' \(did you mean 'project'\?\)"):
            await operations.add_silence(nonsense)
        with pytest.raises(Refused, match="'death' is not a configured route"):
            await operations.add_silence(SilenceRequest("c", "b", {"route": "death"}))
        with pytest.raises(Refused, match="there is no incident 'inc_ffff'"):
            await operations.add_silence(SilenceRequest("c", "b", incident="inc_ffff"))
        with pytest.raises(Refused, match="there is no silence 7"):
            await operations.expire_silence(7)
    async with open_outbox(daemon.store) as outbox:
        local = LocalOperations(outbox, tuple, time_ns, engines=["here"], routes=["deaths"])
        with pytest.raises(Refused, match=r"unknown key 'projct' \(did you mean 'project'\?\)"):
            await local.add_silence(nonsense)
        with pytest.raises(Refused, match="'death' is not a configured route"):
            await local.add_silence(SilenceRequest("c", "b", {"route": "death"}))
        assert await local.list_silences() == []


async def test_over_http(daemon: DaemonWithConfig, url: str) -> None:
    """The same under ``/api/silences``, with the token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    admin = {"listen": f"127.0.0.1:{port}", "token": TOKEN}
    async with (
        daemon.running(**config(url, admin=admin)),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):

        async def ask(
            method: str, path: str, body: bytes | None = None, token: bool = True
        ) -> tuple[int, bytes]:
            headers = BEARER if token else {}
            async with session.request(method, path, data=body, headers=headers) as answer:
                return answer.status, await answer.read()

        good = msgspec.json.encode({"comment": "deploy", "by": "ann", "match": {"name": "web"}})
        for method, path in (
            *(("GET", "/api/silences"), ("POST", "/api/silences")),
            ("DELETE", "/api/silences/1"),
        ):
            assert (await ask(method, path, good, token=False))[0] == 401
        status, body = await ask("POST", "/api/silences", good)
        added = msgspec.json.decode(body, type=SilenceView)
        assert (status, added.id, added.comment) == (200, 1, "deploy")
        _, body = await ask("GET", "/api/silences")
        assert msgspec.json.decode(body, type=list[SilenceView]) == [added]
        assert b"relay_silences_active 1.0" in (await ask("GET", "/metrics"))[1]
        status, body = await ask("DELETE", "/api/silences/1?after_s=60")
        assert (status, msgspec.json.decode(body, type=SilenceView).state) == (200, "active")
        status, body = await ask("DELETE", "/api/silences/1")
        assert (status, msgspec.json.decode(body, type=SilenceView).state) == (200, "over")
        assert await ask("GET", "/api/silences") == (200, b"[]")
        assert len(msgspec.json.decode((await ask("GET", "/api/silences?all=true"))[1])) == 1
        for path in ("/api/silences/1", "/api/silences/2"):
            status, body = await ask("DELETE", path)
            assert (status, b"error" in body) == (422, True)
        for path in ("/api/silences/0", "/api/silences/x", "/api/silences/1?after_s=3601"):
            assert (await ask("DELETE", path))[0] == 400
        for bad in (b"", b"{}", b'{"comment": "a", "by": "b", "planet": "mars"}'):
            assert (await ask("POST", "/api/silences", bad))[0] == 400
        for bad in (b'{"comment": "a", "by": "b"}', b'{"comment": "a", "by": "b", "match": {}}'):
            assert (await ask("POST", "/api/silences", bad))[0] == 422


async def test_silences_outlive_a_reload_and_a_new_store(
    daemon: DaemonWithConfig, engine: ScriptedEngine, url: str
) -> None:
    """A reload changes none, even if its route is gone; a store that is begun anew gets all."""
    other = {**DEATHS, "name": "other"}
    async with daemon.running(**config(url)), daemon.operations() as operations:
        await operations.add_silence(SilenceRequest("deploy", "ann", {"route": "deaths"}))
        await daemon.reload(**config(url, routes=[other]))
        (kept,) = await operations.list_silences()
        assert kept.match == {"route": "deaths"}
    async with open_outbox(daemon.store) as outbox:
        rows = decode_rows(await outbox.incident_rows())
    setup = Setup()
    clocks = EngineClocks(time_ns, time_ns)
    incidents = Incidents(rows, setup.policies, setup.router, clocks)
    incidents.take_changes()
    incidents.mark_all_changed()
    assert ("silences", "[1]") in incidents.take_changes()
