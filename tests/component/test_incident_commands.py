"""What commands see of the incidents of a relay that runs, and what they do to them."""

import socket
from time import time_ns
from typing import Any

import aiohttp
import msgspec
from structlog.testing import capture_logs

from relay.admin.operations import DaemonHooks, LocalOperations
from relay.admin.tap import TapFilter, TappedEvent
from relay.core.incident import Resolution, Status, UpdateReason
from relay.incidents.effect import Effect, EffectKind
from relay.incidents.view import IncidentDetails, IncidentPage
from relay.store.outbox import Outbox, open_outbox
from tests.component.admin_samples import DAEMON_STATUS
from tests.component.daemon_with_config import DaemonWithConfig, http_destination
from tests.component.scripted_engine import ScriptedEngine
from tests.component.webhook import Webhook
from tests.unit.cli.cli_store import load_incidents
from tests.unit.incidents.events import die, ns
from tests.unit.incidents.world import World

DEATHS = {"name": "deaths", "match": {"action": "die"}, "to": ["ops", "audit"]}
TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def config(url: str, **more: Any) -> dict[str, Any]:
    """``ops`` is notified of incidents, ``audit`` of events."""
    ops = http_destination(url, notify="incidents", group_wait="0s", group_interval="1s")
    audit = http_destination(f"{url}?to=audit")
    return {"destinations": {"ops": ops, "audit": audit}, "routes": [DEATHS], **more}


async def test_list_show_close(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """A problem is open until somebody closes it, and its end is reported."""
    with capture_logs() as logs:
        async with daemon.running(**config(url)), daemon.operations() as operations:
            await engine.changes.wait_for(lambda: len(engine.streams) == 1)
            assert (await operations.list_incidents(10)).count == 0
            engine.emit_deaths("web")
            await webhook.wait_for(lambda summaries: summaries == ["web", "web"])
            await daemon.wait_until_settled()
            page = await operations.list_incidents(10)
            (incident,) = page.incidents
            assert (incident.subject, incident.message_count, incident.message) == ("web", 1, None)
            assert page.counts.open == {"ops": {incident.severity: 1}}
            (details,) = await operations.find_incidents(incident.id[:8])
            assert (details.incident.id, details.first.actor.name) == (incident.id, "web")
            assert await operations.close_incident(incident.id)
            assert not await operations.close_incident(incident.id)
            assert not await operations.close_incident("inc_nothing")
            await webhook.wait_for(lambda summaries: len(summaries) == 3)
            await daemon.wait_until_settled()
            assert (await operations.list_incidents(10)).count == 0
            (over,) = (await operations.list_incidents(10, include_ended=True)).incidents
    assert (over.status, over.resolution) == (Status.RESOLVED, Resolution.CLOSED)
    assert webhook.summaries() == ["web", "web", "web"]
    names = [line["event"] for line in logs if line["event"].startswith("incident.")]
    assert names == ["incident.opened", "incident.told", "incident.closed", "incident.told"]


async def test_tail(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It says what each event did, also one of a batch."""
    async with daemon.running(**config(url)), daemon.operations() as operations:
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        async with operations.tail(TapFilter()) as items:
            engine.emit_deaths("web", "web", "other")
            seen = [await anext(items) for _ in range(3)]
        await webhook.wait_for(lambda summaries: len(summaries) >= 5)
    effects = []
    for item in seen:
        assert isinstance(item, TappedEvent)
        (decision,) = item.routes
        assert isinstance(decision.incidents, dict)
        assert {*decision.incidents} == {"ops"}
        effects.append(decision.incidents["ops"])
    assert [(each.kind, each.total) for each in effects] == [
        (EffectKind.OPENED, 1),
        (EffectKind.COUNTED, 2),
        (EffectKind.OPENED, 1),
    ]
    assert all(isinstance(each, Effect) for each in effects)
    assert effects[0].incident == effects[1].incident != effects[2].incident


async def test_over_http(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """The same under ``/api/incidents``, with the token; metrics count them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    admin = {"listen": f"127.0.0.1:{port}", "token": TOKEN}
    async with (
        daemon.running(**config(url, admin=admin)),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        engine.emit_deaths("a", "b", "c")
        await webhook.wait_for(lambda summaries: len(summaries) >= 4)

        async def get(path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
            async with session.get(path, headers=BEARER if headers is None else headers) as answer:
                return answer.status, await answer.read()

        async def post(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
            path = "/api/incidents/close"
            async with session.post(path, data=body, headers=headers) as answer:
                return answer.status, await answer.read()

        for path in ("/api/incidents", "/api/incidents/inc_", "/api/incidents?all=1"):
            assert (await get(path, {}))[0] == 401
        status, body = await get("/api/incidents?most=2")
        first = msgspec.json.decode(body, type=IncidentPage)
        assert (status, len(first.incidents), first.count) == (200, 2, 3)
        assert first.next is not None
        async with session.get(
            "/api/incidents", params={"after": first.next, "all": "true"}, headers=BEARER
        ) as answer:
            second = msgspec.json.decode(await answer.read(), type=IncidentPage)
        found = [*first.incidents, *second.incidents]
        assert sorted(each.subject for each in found) == ["a", "b", "c"]
        assert second.next is None
        id_ = found[0].id
        _, body = await get(f"/api/incidents/{id_}")
        (details,) = msgspec.json.decode(body, type=list[IncidentDetails])
        assert details.incident.id == id_
        assert await get("/api/incidents/inc_x") == (200, b"[]")
        _, metrics = await get("/metrics")
        assert b'relay_incidents_open{destination="ops",severity="critical"} 3.0' in metrics
        assert b'relay_incidents_open{destination="audit",severity="critical"} 0.0' in metrics
        assert b'relay_events_held_total{destination="ops",reason="brief"} 0.0' in metrics
        request = msgspec.json.encode({"id": id_})
        assert (await post(request, {}))[0] == 401
        assert await post(request, BEARER) == (200, b"true")
        assert await post(request, BEARER) == (200, b"false")
        for path in (
            *("/api/incidents?most=0", "/api/incidents?most=501", "/api/incidents?most=x"),
            *("/api/incidents?after=x", "/api/incidents?after=[]", "/api/incidents?al=1"),
            f"/api/incidents/{'x' * 65}",
        ):
            status, body = await get(path)
            assert (status, b"error" in body) == (400, True), path
        for bad in (b"", b"{}", b'{"id": ""}', b'{"id": 7}', b'{"id": "x", "y": 1}'):
            assert (await post(bad, BEARER))[0] == 400


async def test_what_was_closed_while_no_relay_ran(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """Its end is reported after the start."""
    async with daemon.running(**config(url)):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        engine.emit_deaths("web")
        await webhook.wait_for(lambda summaries: len(summaries) == 2)
        await daemon.wait_until_settled()
    async with open_outbox(daemon.store) as outbox:
        operations = LocalOperations(outbox, tuple, time_ns)
        (incident,) = (await operations.list_incidents(10)).incidents
        assert incident.message_count == 1
        assert await operations.close_incident(incident.id)
        assert not await operations.close_incident(incident.id)
    again = DaemonWithConfig(daemon.store.parent, engine)
    async with again.running(**config(url)), again.operations() as remote:
        await webhook.wait_for(lambda summaries: len(summaries) == 3)
        (over,) = (await remote.list_incidents(10, include_ended=True)).incidents
        assert (over.id, over.resolution) == (incident.id, Resolution.CLOSED)


async def test_what_is_due_before_the_history_is_read(outbox: Outbox) -> None:
    """It is reported once that is done, at the latest half a minute after the start."""
    world = World().play([die(0)], 1)
    incidents = load_incidents(world.dispatcher.export(), ns(10))
    hooks = DaemonHooks(dict, bool, lambda: DAEMON_STATUS, never_reload, incidents)
    operations = LocalOperations(outbox, lambda: ["ops"], lambda: ns(10), hooks)
    (incident,) = (await operations.list_incidents(10)).incidents
    (details,) = await operations.find_incidents(incident.id)
    assert incident.update is UpdateReason.OPENED
    assert incident.due_ns == details.incident.due_ns == ns(40)
    incidents.stream_opened("here", 0, is_local=True)
    incidents.caught_up("here")
    (incident,) = (await operations.list_incidents(10)).incidents
    assert incident.due_ns == ns(3)


async def never_reload() -> list[str]:
    """The configuration stays as it is."""
    return []
