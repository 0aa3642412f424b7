"""What relays of many hosts report about themselves, and objects of the same name on all hosts."""

import json
from time import time_ns
from typing import Any

from tests.support.fleet import Fleet
from tests.support.fleet_relays import Edge

HOSTS = ("web-17", "web-18")


def send_event(edge: Edge, type_: str, action: str, id_: str, **event: Any) -> None:
    """Let something other than a container's event happen at an engine."""
    now_ns = time_ns()
    attributes = event.pop("attributes", {})
    usual = {
        "Type": type_,
        "Action": action,
        "Actor": {"ID": id_, "Attributes": attributes},
        "scope": "local",
        "time": now_ns // 10**9,
        "timeNano": now_ns,
    }
    edge.engine.send(json.dumps({**usual, **event}).encode() + b"\n")


async def test_heartbeats_of_two_hosts(fleet: Fleet) -> None:
    """A heartbeat replaces older ones of its own host, and none of another."""
    await fleet.make_stream()
    fleet.hook.status = 503
    hub = await fleet.add_hub()
    for host in HOSTS:
        await fleet.add_edge(host, {"heartbeat": {"every": "10s"}})
    await hub.wait_for(lambda: len(hub.logs("delivery.attempted")) >= len(HOSTS), "no attempt")
    assert await fleet.wait_acked() == 0
    fleet.hook.status = 200
    await fleet.hook.wait_for(
        lambda: all(
            {event["host"] for event in fleet.hook.events(action)} >= {*HOSTS}
            for action in ("heartbeat", "started")
        )
    )


async def test_a_destination_of_an_edge_has_the_name_of_one_of_the_hub(fleet: Fleet) -> None:
    """What an edge says about its own ``ops`` reaches the hub's ``ops``; the hub's own does not."""
    await fleet.make_stream()
    parts = fleet.hub_config("hub")
    parts["destinations"] = {"ops": {"type": "http", "url": f"{fleet.url}/hub"}}
    parts["routes"] = [{"name": "own", "match": {"type": "relay"}, "to": "ops"}]
    await fleet.add_hub("hub", parts)
    config = fleet.edge_config("web-17")
    nobody = {"type": "http", "url": "http://127.0.0.1:9/", "retry": {"initial": "100ms"}}
    config["destinations"] = {**config["destinations"], "ops": nobody}
    config["routes"] = [
        {"name": "containers", "match": {"type": "container"}, "to": ["fleet", "ops"]},
        {"name": "own", "match": {"type": "relay"}, "to": ["fleet", "ops"]},
    ]
    edge = await fleet.add_edge("web-17", config)
    edge.happen("web-1")
    await fleet.hook.wait_for(lambda: bool(fleet.hook.events("destination_failing")))
    (failing,) = fleet.hook.events("destination_failing")
    assert failing["host"] == "web-17"
    assert failing["actor"]["attributes"]["destination"] == "ops"


async def test_a_volume_of_the_same_name_on_two_hosts(fleet: Fleet) -> None:
    """They are two: neither waits for the other, and both reach the receiver."""
    await fleet.make_stream()
    parts = fleet.hub_config("hub")
    parts["routes"] = [{"name": "volumes", "match": {"type": "volume"}, "to": "hook"}]
    await fleet.add_hub("hub", parts)
    for host in HOSTS:
        config = fleet.edge_config(host)
        config["routes"] = [{"name": "volumes", "match": {"type": "volume"}, "to": "fleet"}]
        edge = await fleet.add_edge(host, config)
        send_event(edge, "volume", "create", "data", attributes={"driver": "local"})
    await fleet.hook.wait_for(lambda: len(fleet.hook.events("create")) == len(HOSTS))
    assert {event["host"] for event in fleet.hook.events("create")} == {*HOSTS}


async def test_three_managers_of_a_swarm(fleet: Fleet) -> None:
    """Each reports every event of the swarm, and its own time of a removal: it is reported once."""
    await fleet.make_stream()
    parts = fleet.hub_config("hub")
    parts["routes"] = [{"name": "services", "match": {"type": "service"}, "to": "hook"}]
    await fleet.add_hub("hub", parts)
    edges = []
    for number in (1, 2, 3):
        host = f"manager-{number}"
        config = fleet.edge_config(host)
        config["routes"] = [{"name": "services", "match": {"type": "service"}, "to": "fleet"}]
        edges.append(await fleet.add_edge(host, config, engine_name=f"engine-{number}"))
    created_ns = time_ns()
    for at, (edge, action) in enumerate(
        (edge, action) for action in ("create", "update", "remove") for edge in edges
    ):
        happened_ns = created_ns + (at if action == "remove" else 0) * 10**6
        send_event(
            edge,
            "service",
            action,
            "svc1",
            attributes={"name": "web"},
            scope="swarm",
            time=happened_ns // 10**9,
            timeNano=happened_ns,
        )
    await fleet.hook.wait_for(lambda: len(fleet.hook.events()) >= 3)
    for edge in edges:
        await edge.wait_for(edge.is_settled, "it did not publish everything")
    assert await fleet.wait_acked() == 0
    assert sorted(event["action"] for event in fleet.hook.events()) == [
        "create",
        "remove",
        "update",
    ]
