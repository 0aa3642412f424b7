"""``relay explain --now``, and its words for what is reported next."""

import re
from time import time_ns

import pytest
from msgspec.structs import replace

from relay.cli.forecast import describe_incident
from relay.core.incident import Audience, Condition, Resolution, Status, UpdateReason
from relay.core.zone import UTC_ZONE
from relay.incidents.policy import DestinationPolicy, Policies, RoutePolicy
from tests.unit.cli.cli_store import Installation, failure, run, running_relay
from tests.unit.cli.incident_samples import VIEW, fill
from tests.unit.incidents.events import crash_loop, die, ns, start
from tests.unit.incidents.world import World

CONFIG = """
store: {path: relay.db}
engines: {here: {}}
destinations:
  ops: {type: slack, url: "https://hooks.slack.com/services/T/B/x"}
  audit: {type: console}
routes: [{name: died, match: {action: die, cause: [crashed, oom]}, to: [ops, audit]}]
"""
DIE = ("explain", "--action", "die", "--attribute", "exitCode=3", "--now", "--name")

POLICIES = Policies(
    {"ops": DestinationPolicy(), "pager": DestinationPolicy(Audience.PAGER, repeat_interval_ns=0)},
    {("quiet", "ops"): RoutePolicy(send_resolved=False)},
)


def test_an_open_incident(installation: Installation) -> None:
    """Since when, when it was reported, and what is next."""
    installation.file.write_text(CONFIG)
    fill(installation, World().play([*crash_loop(deaths=8)], 20))
    with running_relay(installation.store, now_ns=ns(20)):
        result = run(*DIE, "web-1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "container die 'web-1' (exit_code 3, cause crashed)\n"
        "✓ died  matches → ops: open: crash-looping, up, since 2027-01-15 08:00:00Z; "
        "told: 2027-01-15 08:00:03Z; next: when well for 1 min, or the reminder; → audit at once\n"
    )


def test_another_container(installation: Installation) -> None:
    """Without an incident, the event would open one."""
    installation.file.write_text(CONFIG)
    fill(installation, World().play([die(0)], 20))
    with running_relay(installation.store, now_ns=ns(20)):
        result = run(*DIE, "web-2")
    assert (
        "→ ops: opens an incident (web-2), told in 3 s with others of here/web-2" in result.stdout
    )


def test_a_silence(installation: Installation) -> None:
    """It would hold back an event that fits it, and no other."""
    installation.file.write_text(CONFIG)
    fill(installation, World())
    with running_relay(installation.store, now_ns=time_ns()):
        added = run("silence", "add", "--comment", "deploy", "--by", "ann", "name=web-*")
        result, other = run(*DIE, "web-2"), run(*DIE, "db")
    assert added.exit_code == 0
    assert re.search(
        r"→ ops: held: silenced by 1 until .*\d\d:\d\d UTC \(deploy, ann\); → audit at once",
        result.stdout,
    )
    assert "→ ops: opens an incident (db), told in 3 s" in other.stdout


def test_an_incident_that_is_over(installation: Installation) -> None:
    """It is remembered, and opened again by a problem."""
    installation.file.write_text(CONFIG)
    fill(installation, World().play([die(0), start(0.1)], 100))
    with running_relay(installation.store, now_ns=ns(100)):
        result = run(*DIE, "web-1")
    assert (
        "→ ops: over: recovered after 1 min; told: 2027-01-15 08:01:03Z; "
        "next: a problem opens it again until 2027-01-15 09:01:00Z" in result.stdout
    )


def test_no_relay(installation: Installation) -> None:
    """The message says what to do."""
    installation.file.write_text(CONFIG)
    assert "start one, or leave out --now" in failure(run(*DIE, "web-1"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "next: when well for 1 min, or the reminder"),
        ({"longest_spell_ns": 180 * 10**9}, "next: when well for 6 min, or the reminder"),
        ({"ending": Resolution.STOPPED}, "next: when not started for 1 min, or the reminder"),
        ({"route": "quiet"}, "next: the reminder"),
        ({"destination": "pager"}, "next: when well for 1 min"),
        ({"condition": Condition.UNKNOWN}, "open: unknown: events may be missing, since"),
        ({"held": "brief", "reported_ns": None}, "told: held: brief; next: when"),
        (
            {
                "held": "silenced",
                "silence": 3,
                "silence_by": "ann",
                "silence_comment": "deploy",
                "held_until_ns": ns(0),
                "reported_ns": None,
                "update": UpdateReason.OPENED,
            },
            ", since 2027-01-15 08:00:00Z; held: silenced by 3 until 2027-01-15 08:00 UTC (deploy",
        ),
        (
            {"held": "opted_out", "update": UpdateReason.CRASH_LOOPING},
            "; told: 2027-01-15 08:00:03Z; held: opted_out",
        ),
        ({"update": UpdateReason.WORSE, "due_ns": ns(40)}, "; next: worse in 30 s"),
        (
            {
                "status": Status.RESOLVED,
                "resolution": Resolution.STOPPED,
                "ended_ns": ns(7),
                "update": UpdateReason.RESOLVED,
                "due_ns": ns(12),
            },
            "next: resolved in 2 s, or a problem opens it again until 2027-01-15 09:00:07Z",
        ),
        (
            {
                "status": Status.RESOLVED,
                "resolution": Resolution.STOPPED,
                "ended_ns": ns(7),
                "update": UpdateReason.RESOLVED,
                "held": "muted",
                "mute_interval": "nights",
                "held_until_ns": ns(60),
            },
            "next: held: muted by nights until 2027-01-15 08:01 UTC, "
            "or a problem opens it again until 2027-01-15 09:00:07Z",
        ),
    ],
)
def test_what_is_next(changes: dict[str, object], text: str) -> None:
    """An update that is due, else what happens if nothing does."""
    described = describe_incident(replace(VIEW, **changes), POLICIES, ns(10), zone=UTC_ZONE)
    assert text in described
    if text.startswith("next"):
        assert described.endswith(text)
