"""Incidents in words: the cells of the table, and the page of one."""

import msgspec
import pytest
from msgspec.structs import replace

from relay.cli.incident_table import (
    describe_counts,
    describe_reports,
    describe_state,
    details_to_document,
    format_page,
)
from relay.core.container_facts import ContainerFacts
from relay.core.incident import Condition, Resolution, Status, UpdateReason
from relay.core.severity import Severity
from relay.core.zone import UTC_ZONE
from relay.incidents.state import Rows
from relay.incidents.subject import engine_key
from relay.incidents.view import find_details
from tests.unit.cli.cli_store import SECOND_NS
from tests.unit.cli.incident_samples import VIEW
from tests.unit.incidents.events import die, health, ns, start
from tests.unit.incidents.world import Setup, World

DEPLOY = {"silence_comment": "deploy", "silence_by": "ann"}
HELD = {
    "update": UpdateReason.OPENED,
    "reported_ns": None,
    "message_count": 0,
    "held_until_ns": ns(3600),
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "2027-01-15 08:00:03Z"),
        ({"held": "brief", "message_count": 0}, "held: brief"),
        ({"held": "silenced", "silence": 3, **DEPLOY}, "held: silenced by 3 (deploy, ann)"),
        ({"held": "silenced", "silence": 3}, "held: silenced by 3"),
        (
            {**HELD, "held": "silenced", "silence": 3, **DEPLOY},
            "held: silenced by 3 until 2027-01-15 09:00 UTC (deploy, ann)",
        ),
        (
            {**HELD, "held": "muted", "mute_interval": "nights"},
            "held: muted by nights until 2027-01-15 09:00 UTC",
        ),
        ({**HELD, "held": "for"}, "held: for until 2027-01-15 09:00 UTC"),
        ({**HELD, "held": "opted_out", "held_until_ns": None}, "held: opted_out"),
        (
            {
                **HELD,
                "update": UpdateReason.CRASH_LOOPING,
                "crash_looping": True,
                "reported_ns": ns(3),
                "held": "silenced",
                "silence": 3,
                "silence_comment": "a\x1b[2J" + "x" * 99,
                "silence_by": "b\u202e",
            },
            "2027-01-15 08:00:03Z; crash-looping held: silenced by 3 until 2027-01-15 09:00 UTC "
            r"(a\x1b[2J" + "x" * 51 + r"…, b\u202e)",
        ),
        ({"message": "ntf_1"}, "queued, not delivered yet"),
        ({"given_up": True}, "given up: told again"),
        (
            {"given_up": True, "update": UpdateReason.OPENED, "due_ns": ns(13)},
            "given up: told again; opened in 3 s",
        ),
        ({"refused": True}, "refused: told again with its next update"),
        (
            {"update": UpdateReason.CRASH_LOOPING, "due_ns": ns(70)},
            "2027-01-15 08:00:03Z; crash-looping in 1 min",
        ),
        (
            {"update": UpdateReason.RESOLVED, "due_ns": ns(9)},
            "2027-01-15 08:00:03Z; resolved now",
        ),
        (
            {"update": UpdateReason.OPENED, "reported_ns": None, "blocked": True, "due_ns": ns(9)},
            "not yet; opened after the message that waits",
        ),
        ({"update": UpdateReason.OPENED, "reported_ns": None}, "not yet; opened later"),
    ],
)
def test_reports(changes: dict[str, object], text: str) -> None:
    """When it was reported last or why it was not, and what is next."""
    view = msgspec.structs.replace(VIEW, **changes)
    assert describe_reports(view, ns(10), is_daemon=True, zone=UTC_ZONE) == text


def test_states() -> None:
    """In words."""
    loop = msgspec.structs.replace(VIEW, crash_looping=True, condition=Condition.RESTARTING)
    assert describe_state(loop) == "crash-looping, restarting"
    both = msgspec.structs.replace(loop, deaths=3, unhealthy=2)
    assert describe_state(both) == "crash-looping, restarting"
    flapping = msgspec.structs.replace(both, unhealthy=3, condition=Condition.UP)
    assert describe_state(flapping) == "flapping, up"
    engine = msgspec.structs.replace(loop, key=engine_key("here"), condition=Condition.UP)
    assert describe_state(engine) == "flapping, up"
    stopped = msgspec.structs.replace(VIEW, ending=Resolution.STOPPED)
    assert describe_state(stopped) == "down (stopped)"
    unknown = msgspec.structs.replace(VIEW, condition=Condition.UNKNOWN)
    assert describe_state(unknown) == "unknown: events may be missing"
    over = msgspec.structs.replace(
        VIEW, status=Status.RESOLVED, resolution=Resolution.STOPPED, ended_ns=ns(62 * 60)
    )
    assert describe_state(over) == "stopped after 1 h 2 min"


def test_counts() -> None:
    """By destination, the highest severity first."""
    counts = {
        "pager": {Severity.CRITICAL: 2},
        "ops": {Severity.INFO: 1, Severity.WARNING: 3, Severity.CRITICAL: 2},
    }
    assert describe_counts(counts) == "ops 2 critical, 3 warning, 1 info; pager 2 critical"


def test_the_timeline_of_one_that_is_over() -> None:
    """Its end and the reason are in it."""
    world = World().play([die(0), start(0.1)], 61)
    (details,) = find_details(world.dispatcher.export(), world.now, "inc_")
    lines = list(format_page(details, world.now.steady_ns, is_daemon=True, zone=UTC_ZONE))
    assert lines[-3:] == [
        "    2027-01-15 08:00:03Z  told, by the 1st message about it: delivered",
        "    2027-01-15 08:01:00Z  over: recovered",
        "    2027-01-15 08:01:03Z  to be told: resolved",
    ]


def test_the_timeline_of_one_whose_message_was_given_up() -> None:
    """It says that the message was given up, and when there will be another."""
    world = World()
    world.broken.add("ops")
    world.play([die(0)], 10)
    world.give_up(world.waiting[0])
    (details,) = find_details(world.dispatcher.export(), world.now, "inc_")
    lines = list(format_page(details, world.now.steady_ns, is_daemon=True, zone=UTC_ZONE))
    assert (
        "    2027-01-15 08:00:03Z  told, by the 1st message about it: given up, it is a dead letter"
        in lines
    )
    (told,) = (line for line in lines if line.startswith("  told "))
    assert "given up: told again; opened in" in told


def test_the_timeline_of_flapping_health() -> None:
    """It became unhealthy, it did not die."""
    world = World(
        Setup({"name": "sick", "match": {"action": "health_status: unhealthy"}, "to": ["ops"]})
    )
    events = [
        each for t in (0, 20, 40) for each in (health(t, "unhealthy"), health(t + 10, "healthy"))
    ]
    world.play(events, 55)
    (details,) = find_details(world.dispatcher.export(), world.now, "inc_")
    lines = list(format_page(details, world.now.steady_ns, is_daemon=True, zone=UTC_ZONE))
    assert "  state        flapping, up" in lines
    assert "    2027-01-15 08:00:20Z  became unhealthy" in lines
    assert lines[-1] == "    2027-01-15 08:01:03Z  to be told: flapping"


def test_events_that_were_only_counted() -> None:
    """The page says how many no message stood for yet."""
    world = World().play([die(0), die(5), die(6)], 20)
    (details,) = find_details(world.dispatcher.export(), world.now, "inc_")
    lines = list(format_page(details, world.now.steady_ns, is_daemon=True, zone=UTC_ZONE))
    assert "  events       3, 2 of them not told yet" in lines


def test_the_timeline_of_one_whose_events_may_be_missing() -> None:
    """Since when."""
    world = World().play([die(0)], 10)
    (incident,) = world.dispatcher.list_incidents()
    life = msgspec.structs.replace(incident.life, unknown_since_ns=ns(0) + 7 * SECOND_NS)
    rows = Rows(incidents=[msgspec.structs.replace(incident, life=life)])
    (details,) = find_details(rows, world.now, incident.id)
    assert "    2027-01-15 08:00:07Z  events may be missing from here on" in [
        *format_page(details, world.now.steady_ns, is_daemon=True, zone=UTC_ZONE)
    ]


def test_what_is_known_of_the_container() -> None:
    """The page has it in words, the JSON under the names of the payload."""
    world = World().play([replace(die(0), ran_ns=2_518_000_000)], 1)
    (details,) = find_details(world.dispatcher.export(), world.now, "inc_")
    assert "  container    had run for 3 s" in format_page(
        details, ns(1), is_daemon=True, zone=UTC_ZONE
    )
    facts = ContainerFacts("on-failure", 3, 2, 512 * 2**20)
    known = replace(details, container=facts)
    assert (
        "  container    restart policy on-failure:3, 2 restarts, memory limit 512 MiB, "
        "had run for 3 s"
    ) in format_page(known, ns(1), is_daemon=True, zone=UTC_ZONE)
    document = details_to_document(known)
    assert {name: document[name] for name in list(document)[-4:]} == {
        "restart_policy": "on-failure:3",
        "restart_count": 2,
        "memory_limit": 512 * 2**20,
        "ran_for": 2.518,
    }
    assert details_to_document(details)["restart_policy"] is None
