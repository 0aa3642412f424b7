"""What messages of a hub say: which host it is about, and that hosts are silent."""

from relay.core.zone import UTC_ZONE
from relay.destinations.common.headline import headline
from relay.destinations.console import render
from tests.unit.incidents.events import die
from tests.unit.incidents.fleet import heard, hosts, of, of_engine, silent
from tests.unit.incidents.test_fleet import hub
from tests.unit.incidents.world import World


def said(world: World) -> list[str]:
    """The headlines of all messages."""
    return [headline(it.to_notification(), 400, zone=UTC_ZONE) for _, it in world.sent]


def shown(world: World) -> str:
    """The last message on a terminal, without colours."""
    notification = world.sent[-1][1].to_notification()
    text = render(notification, colour=True, zone=UTC_ZONE).body.decode()
    for code in ("0", "2", "1;31", "1;32"):
        text = text.replace(f"\x1b[{code}m", "")
    return text


def test_one_host() -> None:
    world = hub()
    world.take(silent("web-1", 0))
    world.run(90_000)
    world.take(heard("web-1", 90_000))
    world.run(91_000)
    assert said(world) == [
        "host web-1 is silent (no heartbeat for 5m)",
        "Still silent for 24 h: host web-1 (no heartbeat for 5m)",
        "Resolved: host web-1 is heard again after 25 h",
    ]


def test_several_hosts() -> None:
    """Nothing is said twice: that they are hosts, and that each is on itself."""
    world = hub()
    world.take(*(silent(host, 0) for host in hosts(10)))
    world.run(30)
    assert "\n│ 🔴 host web-3 is silent (no heartbeat for 5m)\n" in shown(world)
    world.take(*(heard(host, 40) for host in hosts(10)))
    world.run(200)
    names = "web-0, web-1, web-2, web-3, web-4, web-5, web-6, web-7 and 2 more"
    assert said(world) == [
        f"fleet: 10 hosts are silent: {names}",
        f"Resolved: fleet: 10 hosts are heard again: {names}",
    ]


def test_containers_of_the_same_name() -> None:
    """Several hosts have one: each is told from the others."""
    world = hub()
    world.take(*(of(host, die(0, "web")) for host in hosts(4)))
    world.run(30)
    (headline_,) = said(world)
    assert headline_ == (
        "4 containers crashed: web on web-0, web on web-1, web on web-2, web on web-3"
    )


def test_a_project_on_one_host() -> None:
    """The group is that of the host, which the headline says."""
    world = hub()
    world.take(*(of("db-1", die(0, name, project="shop")) for name in ("shop-api-1", "shop-db-1")))
    world.run(30)
    assert said(world) == ["shop on db-1: 2 containers crashed: api-1, db-1"]


def test_a_group_of_one_host() -> None:
    """Without a project the host is the name of the group."""
    world = hub(group_by=("host",))
    world.take(of("db-1", die(0, "a")), of("db-1", die(0, "b")))
    world.run(30)
    assert said(world) == ["db-1: 2 containers crashed: a, b"]


def test_hosts_and_engines() -> None:
    """What is of different kinds is named with its kind."""
    world = hub(group_by=())
    world.take(silent("web-1", 0), of_engine("web-2", "engine_lost", 0))
    world.run(30)
    assert said(world) == ["2 problems: host web-1, engine local"]
    assert "engine local is out of reach · on web-2" in shown(world)
