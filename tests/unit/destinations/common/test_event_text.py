"""The headline of a notification, and the sentence in it."""

import msgspec
import pytest
from hypothesis import given

from relay.core.event import Actor, Cause, Event, Origin, make_self_event
from relay.core.incident import Status
from relay.core.notification import Notification, build_notification
from relay.core.text import utf16_length
from relay.core.zone import UTC_ZONE
from relay.destinations.common.card import Card
from relay.destinations.common.event_text import (
    PREDICATE_MAX,
    SUBJECT_MAX,
    describe_event,
    describe_image,
    find_reclaimed,
)
from relay.destinations.common.facts import list_facts
from relay.destinations.common.headline import headline
from tests.support.events import make_event
from tests.unit.destinations.samples import CRASH, container_event
from tests.unit.destinations.strategies import events, for_people


def web(action: str, **facts: object) -> Event:
    """An event of the container web-1."""
    event = container_event(action, 1, "f53eb17c442d9f01", {"name": "web-1", "oldName": "/web"})
    return msgspec.structs.replace(event, **facts)


RUNC = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: "
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (f'{RUNC}exec: "nosuch": not found', 'web-1 cannot be started: exec: "nosuch": not found'),
        ("No such image: shop:2", "web-1 cannot be started: No such image: shop:2"),
        ("", "web-1 cannot be started"),
    ],
)
def test_a_start_that_failed(error: str, expected: str) -> None:
    """The sentence has what is wrong; how the engine came to know it is left to the facts."""
    actor = Actor("f53e", "web-1", None, {"name": "web-1", "error": error})
    event = web("start_failed", origin=Origin.INFERRED, actor=actor)
    assert describe_event(event) == expected
    assert ("Error", error) in list_facts(event) or not error


def test_a_service_whose_tasks_cannot_start() -> None:
    """A service of a Swarm is named as such."""
    actor = Actor("s1", "web", None, {"name": "web", "error": "No such image: web:2"})
    event = web("start_failed", type="service", origin=Origin.INFERRED, actor=actor)
    assert describe_event(event) == "service web cannot start its tasks: No such image: web:2"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (web("die", cause=Cause.CRASHED, exit_code=3), "web-1 crashed with exit code 3"),
        (
            web("die", cause=Cause.CRASHED, exit_code=137),
            "web-1 crashed with exit code 137 (SIGKILL: killed)",
        ),
        (web("die", cause=Cause.CRASHED), "web-1 crashed"),
        (
            web("die", cause=Cause.OOM, exit_code=137),
            "web-1 ran out of memory (OOM) and ended with exit code 137",
        ),
        (
            web("die", cause=Cause.REQUESTED, exit_code=143),
            "web-1 was stopped with exit code 143 (SIGTERM: asked to end)",
        ),
        (web("die", cause=Cause.FINISHED, exit_code=0), "web-1 finished with exit code 0"),
        (web("die", cause=Cause.UNKNOWN, exit_code=1), "web-1 ended with exit code 1"),
        (web("die", exit_code=1), "web-1 ended with exit code 1"),
        (web("oom"), "web-1 ran out of memory (OOM)"),
        (web("health_status", health="unhealthy"), "web-1 is unhealthy"),
        (web("health_status", health="healthy"), "web-1 is healthy"),
        (web("health_status", health="starting"), "web-1 reports its health: starting"),
        (web("start"), "web-1 started"),
        (web("stop"), "web-1 was stopped"),
        (web("kill", signal=1), "web-1 was sent SIGHUP"),
        (web("kill", signal=63), "web-1 was sent signal 63"),
        (web("kill"), "web-1 was sent a signal"),
        (web("pause"), "web-1 was paused"),
        (web("create"), "web-1 was created"),
        (web("destroy"), "web-1 was removed"),
        (web("rename"), "web-1 was renamed from web"),
        (web("exec_start", detail="/bin/sh -c true"), "web-1 runs /bin/sh -c true"),
        (web("exec_create"), "web-1 was asked to run a command"),
        (web("exec_die", exit_code=1), "web-1 ended a command with exit code 1"),
        (web("commit"), "container web-1: commit"),
        (web("top", detail="aux"), "container web-1: top: aux"),
        (web("enable", type="plugin", actor=Actor("a", "p1", None, {})), "plugin p1: enable"),
        (web("create", type="secret", actor=Actor("a", "s1", None, {})), "secret s1 was created"),
        (web("remove", type="network", actor=Actor("", None, None, {})), "network was removed"),
    ],
)
def test_says_what_happened(event: Event, expected: str) -> None:
    """Every kind of event has a phrase; the others stay as the engine names them."""
    assert describe_event(event) == expected


@pytest.mark.parametrize(
    ("action", "attributes", "expected"),
    [
        ("started", {}, "relay started"),
        ("stopped", {"reason": "SIGTERM"}, "relay stopped: SIGTERM"),
        (
            "gap",
            {"reason": "history_too_short", "engine": "edge-1"},
            "relay may have missed events of engine edge-1: history_too_short",
        ),
        (
            "engine_lost",
            {"reason": "connection refused"},
            "relay lost engine here: connection refused",
        ),
        ("engine_back", {}, "relay sees engine here again"),
        ("heartbeat", {}, "relay is alive"),
    ],
)
def test_says_what_happened_to_relay(
    action: str, attributes: dict[str, str], expected: str
) -> None:
    """relay's own events name the engine and the reason."""
    event = make_self_event(action, engine="here", host="node-1", time_ns=1, attributes=attributes)
    assert describe_event(event) == expected


SILENT = "host web-17 is silent: no heartbeat for 5m"


@pytest.mark.parametrize(
    ("action", "engine", "attributes", "expected"),
    [
        ("engine_lost", "relay", {"reason": "no heartbeat for 5m"}, SILENT),
        ("engine_back", "relay", {}, "host web-17 is heard again"),
        ("engine_lost", "local", {"reason": "x"}, "relay on web-17 lost engine local: x"),
        (
            "destination_failing",
            "relay",
            {"destination": "ops"},
            "relay on web-17 cannot deliver to ops",
        ),
        ("heartbeat", "relay", {}, "relay on web-17 is alive"),
    ],
)
def test_says_what_happened_to_another_relay(
    action: str, engine: str, attributes: dict[str, str], expected: str
) -> None:
    """At a hub the host is named, since each has a relay."""
    event = make_self_event(action, engine=engine, host="web-17", time_ns=1, attributes=attributes)
    assert describe_event(msgspec.structs.replace(event, via="fleet")) == expected


CONTAINER = "095426d58f55afe01307244c5a7f74913490b3d542040ba95d0597c59b6dc547"
DIGEST = "sha256:992cb954fa767541e4fbc0d19a45a9b486707499b27e753c4fcbb07bdfb1d078"
NAMED_BY_DIGEST = {"name": DIGEST}


@pytest.mark.parametrize(
    ("type_", "action", "attributes", "sentence", "facts"),
    [
        (
            *("node", "update", {"name": "vm", "state.new": "down", "state.old": "ready"}),
            *("node vm is down (was ready)", ["state ready → down"]),
        ),
        (
            *("node", "update", {"name": "vm", "role.new": "manager", "role.old": "worker"}),
            *("node vm became a manager (was worker)", ["role worker → manager"]),
        ),
        (
            *("node", "update", {"name": "vm", "availability.new": "drain"}),
            *("node vm was set to drain", ["availability drain"]),
        ),
        ("node", "update", {"name": "vm"}, "node vm was updated", []),
        (
            *("service", "update", {"name": "svc", "replicas.new": "0", "replicas.old": "3"}),
            *("service svc was scaled from 3 to 0 replicas", ["replicas 3 → 0"]),
        ),
        (
            "service",
            "update",
            {"name": "svc", "updatestate.new": "paused", "updatestate.old": "updating"},
            "service svc has its update paused",
            ["update updating → paused"],
        ),
        (
            "service",
            "update",
            {
                "image.new": f"bb:2@{DIGEST}",
                "image.old": "bb:1",
                "name": "svc",
                "updatestate.new": "rollback_started",
                "updatestate.old": "paused",
            },
            "service svc is being rolled back, was updated to bb:2@sha256:992cb954fa76 (was bb:1)",
            ["update paused → rollback_started", "new image bb:1 → bb:2@sha256:992cb954fa76"],
        ),
        (
            "network",
            "disconnect",
            {"container": CONTAINER, "name": "n1", "type": "bridge"},
            "network n1 was disconnected from container 095426d58f55",
            ["container 095426d58f55"],
        ),
        (
            "network",
            "connect",
            {"container": CONTAINER, "name": "n1", "type": "bridge"},
            "network n1 was connected to container 095426d58f55",
            ["container 095426d58f55"],
        ),
        (
            "volume",
            "mount",
            {"container": CONTAINER, "destination": "/data", "driver": "local"},
            "volume v1 was mounted by container 095426d58f55",
            ["container 095426d58f55"],
        ),
        (
            *("container", "prune", {"reclaimed": "2048000"}),
            *("a prune of stopped containers reclaimed 2.048 MB", ["reclaimed 2.048 MB"]),
        ),
        (
            *("volume", "prune", {"reclaimed": "0"}),
            *("a prune of unused volumes reclaimed 0 B", ["reclaimed 0 B"]),
        ),
        ("network", "prune", {"reclaimed": "0"}, "a prune of unused networks ran", []),
        ("image", "untag", NAMED_BY_DIGEST, "image 992cb954fa76 was untagged", []),
        ("image", "delete", NAMED_BY_DIGEST, "image 992cb954fa76 was deleted", []),
    ],
)
def test_says_what_an_engine_says_in_attributes(
    type_: str, action: str, attributes: dict[str, str], sentence: str, facts: list[str]
) -> None:
    """The one fact of a change, as Engine 26.1 sent it, is in the headline and among all facts."""
    name = attributes.get("name") or ("" if action == "prune" else "v1")
    actor = Actor("" if action == "prune" else "a", name, None, attributes)
    event = make_event(type=type_, action=action, actor=actor)
    assert describe_event(event) == sentence
    shown = [
        f"{name.lower()} {value}"
        for name, value in list_facts(event)
        if name not in ("Host", "Image")
    ]
    assert shown == facts


def test_labels_are_no_changes() -> None:
    """A container's attributes are its labels: none of them looks like an engine's fact."""
    labels = {
        "container": CONTAINER,
        "reclaimed": "1",
        "replicas.new": "0",
        "state.new": "down",
    }
    event = web("update", actor=Actor("a", "web-1", None, labels))
    assert describe_event(event) == "web-1 was updated"
    assert [name for name, _ in Card(build_notification("r", event)).facts] == ["Host"]


@pytest.mark.parametrize("reclaimed", ["", "-1", "1e9", "²", "9" * 19, "1" * 5000])
def test_shows_only_what_is_a_size(reclaimed: str) -> None:
    """Whatever the attribute holds, the sentence stays short and true."""
    actor = Actor("", None, None, {"reclaimed": reclaimed})
    event = make_event(type="volume", action="prune", actor=actor)
    assert describe_event(event) == "a prune of unused volumes ran"


@pytest.mark.parametrize(
    ("reclaimed", "expected"),
    [
        ("1", "1 B"),
        ("999", "999 B"),
        ("1000", "1 kB"),
        ("2048000000", "2.048 GB"),
        ("5" * 18, "555,556 TB"),
    ],
)
def test_shows_sizes_as_the_docker_command_does(reclaimed: str, expected: str) -> None:
    """In powers of 1,000, with at most four digits."""
    event = make_event(
        type="image", action="prune", actor=Actor("", None, None, {"reclaimed": reclaimed})
    )
    assert find_reclaimed(event) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("registry.example.com/shop/web:1.2", "registry.example.com/shop/web:1.2"),
        (f"shop/web:1@{DIGEST}", "shop/web:1 (sha256:992cb954fa76)"),
        (f"shop/web@{DIGEST}", "shop/web (sha256:992cb954fa76)"),
        (DIGEST, "992cb954fa76"),
        ("", ""),
    ],
)
def test_shows_the_digest_of_an_image_apart(image: str, expected: str) -> None:
    """What stands before it can be copied; of the digest twelve digits are enough."""
    assert describe_image(image) == expected


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (Actor("f53eb17c442d9f01", None, None, {}), "f53eb17c442d started"),
        (Actor("", None, None, {}), "a container started"),
    ],
)
def test_uses_the_id_without_a_name(actor: Actor, expected: str) -> None:
    """The short id is shown, as the docker command does."""
    assert describe_event(web("start", actor=actor)) == expected


def test_a_long_name_leaves_space_for_what_happened() -> None:
    """A long name is truncated, and the sentence still ends with what happened."""
    actor = Actor("", "x" * 300, None, {})
    assert (
        describe_event(web("oom", actor=actor))
        == "x" * (SUBJECT_MAX - 1) + "… ran out of memory (OOM)"
    )


def test_says_how_many_more_and_that_it_is_resolved() -> None:
    """A group is described by its first event; a resolved one says so first."""
    group = Notification("ntf_1", "crashed", (CRASH, CRASH), Status.RESOLVED, count=4)
    assert (
        headline(group, 100, zone=UTC_ZONE)
        == "Resolved: shop-web-1 crashed with exit code 42 (and 3 more)"
    )


def test_the_number_of_further_events_is_never_cut() -> None:
    """A truncated headline keeps its end."""
    group = Notification("ntf_1", "r", (web("exec_start", detail="x" * 99),), count=4)
    assert headline(group, 60, zone=UTC_ZONE) == "web-1 runs " + "x" * 35 + "… (and 3 more)"


def test_one_event_mentions_no_others() -> None:
    """A notification of one event mentions no other events."""
    assert headline(build_notification("crashed", CRASH), 100, zone=UTC_ZONE) == describe_event(
        CRASH
    )


@given(events)
def test_a_sentence_is_one_bounded_line(event: Event) -> None:
    """No event makes the sentence long or puts a control character in it."""
    expected = describe_event(event)
    assert expected.isprintable()
    assert utf16_length(expected) <= SUBJECT_MAX + PREDICATE_MAX + 1


@given(for_people)
def test_a_headline_keeps_its_limit(notification: Notification) -> None:
    """The limit includes everything around the sentence."""
    assert utf16_length(headline(notification, 60, zone=UTC_ZONE)) <= 60
