"""The headline of a notification, and the sentence in it."""

import msgspec
import pytest
from hypothesis import given

from relay.core.event import Actor, Cause, Event, make_self_event
from relay.core.notification import Notification, Status, build_notification
from relay.core.text import utf16_length
from relay.destinations.common.card import (
    PREDICATE_MAX,
    SUBJECT_MAX,
    describe_event,
    describe_exit_code,
    headline,
)
from tests.unit.destinations.samples import CRASH, container_event, events, notifications


def web(action: str, **facts: object) -> Event:
    """An event of the container web-1."""
    event = container_event(action, 1, "f53eb17c442d9f01", {"name": "web-1", "oldName": "/web"})
    return msgspec.structs.replace(event, **facts)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (web("die", cause=Cause.CRASHED, exit_code=3), "web-1 crashed with exit code 3"),
        (
            web("die", cause=Cause.CRASHED, exit_code=137),
            "web-1 crashed with exit code 137 (SIGKILL)",
        ),
        (web("die", cause=Cause.CRASHED), "web-1 crashed"),
        (web("die", cause=Cause.OOM, exit_code=137), "web-1 was killed for memory (OOM)"),
        (
            web("die", cause=Cause.REQUESTED, exit_code=143),
            "web-1 was stopped with exit code 143 (SIGTERM)",
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
        (web("connect", type="network", actor=Actor("a", "n1", None, {})), "network n1: connect"),
        (web("prune", type="volume", actor=Actor("", None, None, {})), "volume: prune"),
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


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (128, "128"),
        (137, "137 (SIGKILL)"),
        (139, "139 (SIGSEGV)"),
        (255, "255"),
        (-1, "-1"),
    ],
)
def test_names_the_signal_of_an_exit_code(code: int, expected: str) -> None:
    """Only 128 + n of an existing signal has a name."""
    assert describe_exit_code(code) == expected


def test_says_how_many_more_and_that_it_is_resolved() -> None:
    """A group is described by its first event; a resolved one says so first."""
    group = Notification("ntf_1", "crashed", (CRASH, CRASH), Status.RESOLVED, count=4)
    assert headline(group, 100) == "Resolved: shop-web-1 crashed with exit code 42 (and 3 more)"


def test_the_number_of_further_events_is_never_cut() -> None:
    """A truncated headline keeps its end."""
    group = Notification("ntf_1", "r", (web("exec_start", detail="x" * 99),), count=4)
    assert headline(group, 60) == "web-1 runs " + "x" * 35 + "… (and 3 more)"


def test_one_event_mentions_no_others() -> None:
    """A notification of one event mentions no other events."""
    assert headline(build_notification("crashed", CRASH), 100) == describe_event(CRASH)


@given(events)
def test_a_sentence_is_one_bounded_line(event: Event) -> None:
    """No event makes the sentence long or puts a control character in it."""
    expected = describe_event(event)
    assert expected.isprintable()
    assert utf16_length(expected) <= SUBJECT_MAX + PREDICATE_MAX + 1


@given(notifications)
def test_a_headline_keeps_its_limit(notification: Notification) -> None:
    """The limit includes everything around the sentence."""
    assert utf16_length(headline(notification, 60)) <= 60
