"""One incident in one sentence."""

import pytest
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Cause, make_self_event
from relay.core.incident import Condition, IncidentReport, Resolution, UpdateReason
from relay.core.zone import UTC_ZONE
from relay.destinations.common.headline import headline
from relay.destinations.common.incident_line import (
    describe_incident,
    describe_lasting_problem,
    format_span,
)
from relay.destinations.common.pieces import join
from tests.unit.destinations.samples import CRASH, OOM, UNHEALTHY
from tests.unit.destinations.updates import (
    NO_POLICY,
    SECOND_NS,
    crash_looping,
    made,
    problem,
    report,
    resolved,
    update_of,
)

UP, DOWN, SICK = Condition.UP, Condition.DOWN, Condition.UNHEALTHY
REASON = UpdateReason


def say(incident: IncidentReport, after_s: float = 3.0) -> str:
    """The headline about one incident."""
    return headline(made(update_of(incident), after_s), 200, zone=UTC_ZONE)


def ago(seconds: float) -> int:
    """When an incident began, so long before its last crash."""
    return CRASH.time_ns - round(seconds * SECOND_NS)


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (report(condition=UP), "web crashed with exit code 42 and is up again"),
        (report(condition=DOWN), "web crashed with exit code 42 and is down"),
        (
            report(condition=Condition.RESTARTING),
            "web crashed with exit code 42 and is restarting",
        ),
        (report(condition=SICK), "web crashed with exit code 42 and is unhealthy"),
        (
            report(condition=Condition.UNKNOWN, unknown_since_ns=CRASH.time_ns),
            "web crashed with exit code 42; how it is now is not known since 07:29 UTC",
        ),
        (
            report(deaths=2, started_ns=ago(40), condition=UP),
            "web crashed twice in 40 s with exit code 42 and is up again",
        ),
        (
            report(problem=problem(exit_code=None, cause=None)),
            "web ended and is down",
        ),
        (
            report(problem=problem(cause=Cause.OOM, exit_code=137, is_like_first=False)),
            "web ran out of memory (OOM) and ended with exit code 137; it is down",
        ),
        (
            crash_looping(started_ns=ago(3)),
            "web is crash-looping: crashed 5 times in 3 s with exit code 42",
        ),
        (
            crash_looping(started_ns=ago(3), condition=DOWN, reason=REASON.OPENED),
            "web is crash-looping: crashed 5 times in 3 s with exit code 42; it is down",
        ),
        (
            crash_looping(problem=problem(has_first_code=False), started_ns=ago(3)),
            "web is crash-looping: crashed 5 times in 3 s, last with exit code 42",
        ),
        (
            crash_looping(deaths=4, unhealthy=3, started_ns=ago(90)),
            "web is crash-looping: died once and became unhealthy 3 times in 90 s, "
            "last with exit code 42",
        ),
        (
            crash_looping(problem=problem(cause=Cause.FINISHED, exit_code=0), deaths=3),
            "web is crash-looping: ended 3 times with exit code 0",
        ),
        (
            report(reason=REASON.REOPENED, condition=UP, deaths=2, started_ns=ago(180)),
            "Again: web crashed twice in 3 min with exit code 42 and is up again",
        ),
        (
            report(reason=REASON.WORSE, deaths=2, unhealthy=1),
            "web got worse: it crashed with exit code 42 and is down",
        ),
        (
            report(reason=REASON.STAYS_DOWN, deaths=5),
            "web stays down: crashed 5 times with exit code 42, not started since 07:29 UTC",
        ),
        (report(reason=REASON.REMINDER), "Still down for 3 s: web (crashed with exit code 42)"),
    ],
)
def test_says_what_happened_and_how_it_is(incident: IncidentReport, expected: str) -> None:
    """One sentence for each state of an open incident."""
    assert say(replace(incident, subject="web")) == expected


ON_FAILURE = ContainerFacts(restart_policy="on-failure", max_retries=3, restart_count=3)
GAVE_UP = "its restart policy (on-failure, 3 times) gave up"


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (
            report(container=NO_POLICY, given_up=True),
            "crashed with exit code 42 and is down: it has no restart policy",
        ),
        (
            crash_looping(
                container=ON_FAILURE, given_up=True, condition=DOWN, started_ns=ago(2), deaths=4
            ),
            f"crashed 4 times in 2 s with exit code 42 and is down: {GAVE_UP}",
        ),
        (
            report(container=ON_FAILURE, given_up=True, reason=REASON.STAYS_DOWN, deaths=4),
            "stays down: crashed 4 times with exit code 42, not started since 07:29 UTC; "
            f"{GAVE_UP}",
        ),
        (
            report(
                container=ON_FAILURE,
                given_up=True,
                problem=problem(cause=Cause.OOM, exit_code=137),
            ),
            f"ran out of memory (OOM) and ended with exit code 137; it is down: {GAVE_UP}",
        ),
        (report(container=ON_FAILURE), "crashed with exit code 42 and is down"),
        (
            report(container=ON_FAILURE, given_up=True, condition=UP),
            "crashed with exit code 42 and is up again",
        ),
    ],
)
def test_says_why_nothing_restarts_it(incident: IncidentReport, expected: str) -> None:
    """Only what is down and is known not to be restarted has given up."""
    assert say(replace(incident, subject="web")) == f"web {expected}"


def test_says_how_long_it_had_run() -> None:
    """For one death; for several the sentence says in which time they happened."""
    ran = problem(ran_ns=7_200 * SECOND_NS, exit_code=139)
    crashed = "crashed with exit code 139 (SIGSEGV: invalid memory access)"
    once = report(condition=UP, problem=ran, subject="web")
    assert say(once) == f"web {crashed} after running for 2 h and is up again"
    twice = replace(once, deaths=2, started_ns=ago(40))
    expected = "crashed twice in 40 s with exit code 139 (SIGSEGV: invalid memory access)"
    assert say(twice) == f"web {expected} and is up again"


def test_a_headline_with_less_space_says_less() -> None:
    """First without what the code means and how long it ran, then without why it stays down."""
    incident = report(
        problem=problem(ran_ns=7_200 * SECOND_NS, exit_code=139),
        container=NO_POLICY,
        given_up=True,
        subject="web",
    )
    update = made(update_of(incident))
    full = say(incident)
    assert "2 h and is down: it has no restart policy" in full
    short = "web crashed with exit code 139 and is down: it has no restart policy"
    assert (
        headline(update, len(full) - 1, zone=UTC_ZONE)
        == headline(update, len(short), zone=UTC_ZONE)
        == short
    )
    assert (
        headline(update, len(short) - 1, zone=UTC_ZONE)
        == "web crashed with exit code 139 and is down"
    )


def test_a_reminder_says_what_had_happened() -> None:
    """The headline of one incident and the line of several have the same facts."""
    incident = report(reason=REASON.REMINDER, container=NO_POLICY, given_up=True, subject="web")
    what = "crashed with exit code 42; it has no restart policy"
    assert say(incident, 86_400) == f"Still down for 24 h: web ({what})"
    line = join(describe_incident(incident, CRASH.time_ns + 86_400 * SECOND_NS, zone=UTC_ZONE))
    assert line == f"web is still down after 24 h (since 2026-11-23 07:29 UTC): {what}"
    sick = report(UNHEALTHY, reason=REASON.REMINDER, unhealthy=1, condition=SICK)
    assert say(sick) == "Still unhealthy for 3 s: sick"
    assert say(replace(sick, condition=DOWN)) == "Still down for 3 s: sick (was unhealthy)"


def test_a_reminder_says_why_it_cannot_be_started_or_reached() -> None:
    """With the error; without it if the headline would be too long."""
    failed = problem(action="start_failed", cause=None, exit_code=None, error="no such image")
    incident = report(problem=failed, reason=REASON.REMINDER, deaths=0, subject="web")
    full = "Still down for 24 h: web (could not be started: no such image)"
    assert say(incident, 86_400) == full
    update = made(update_of(incident), 86_400)
    short = headline(update, len(full) - 1, zone=UTC_ZONE)
    assert short == "Still down for 24 h: web (could not be started)"
    lost = problem(type="relay", action="engine_lost", cause=None, exit_code=None, error="refused")
    far = report(problem=lost, reason=REASON.REMINDER, deaths=1, subject="edge")
    assert say(far, 86_400) == "Still out of reach for 24 h: engine edge (refused)"


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (resolved(deaths=69, total=69), "web is up again after 2 min (69 deaths)"),
        (resolved(), "web is up again after 2 min"),
        (
            resolved(UNHEALTHY, deaths=17, unhealthy=17),
            "web is healthy again after 2 min (17 times unhealthy)",
        ),
        (
            resolved(OOM, deaths=0, total=45),
            "web is well again after 2 min (45 times out of memory)",
        ),
        (
            resolved(resolution=Resolution.FINISHED),
            "web finished with exit code 0, 2 min after it first failed",
        ),
        (resolved(resolution=Resolution.STOPPED), "web was stopped, 2 min after it first failed"),
        (resolved(resolution=Resolution.REMOVED), "web was removed, 2 min after it first failed"),
        (
            resolved(resolution=Resolution.CLOSED),
            "web had its incident closed by hand, 2 min after it first failed",
        ),
        (
            resolved(notified_before=False, reason=REASON.OPENED),
            "web came and went: crashed with exit code 42; it is up again after 2 min",
        ),
        (
            resolved(notified_before=False, reason=REASON.OPENED, resolution=Resolution.STOPPED),
            "web crashed with exit code 42; it was stopped, 2 min after it first failed",
        ),
    ],
)
def test_says_how_it_ended(incident: IncidentReport, expected: str) -> None:
    """Why it is over, how long it lasted, and how often it failed."""
    assert say(replace(incident, subject="web")) == f"Resolved: {expected}"


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (report(UNHEALTHY, unhealthy=1, condition=SICK), "sick is unhealthy"),
        (report(UNHEALTHY, unhealthy=1, condition=UP), "sick was unhealthy and is up"),
        (
            crash_looping(
                UNHEALTHY,
                deaths=3,
                unhealthy=3,
                condition=UP,
                started_ns=UNHEALTHY.time_ns - 83 * SECOND_NS,
            ),
            "sick is flapping: became unhealthy 3 times in 83 s; it is up",
        ),
        (
            report(OOM, deaths=0, total=7, condition=UP),
            "oomed ran out of memory (OOM) 7 times and is up",
        ),
    ],
)
def test_names_what_is_no_death(incident: IncidentReport, expected: str) -> None:
    """A container that is unhealthy or short of memory may be up."""
    assert say(incident) == expected


def own_event(action: str, reason: str) -> IncidentReport:
    """An incident of relay's own."""
    event = make_self_event(
        action, engine="edge", host="n", time_ns=CRASH.time_ns, attributes={"reason": reason}
    )
    return report(event, subject="edge")


def test_names_what_relay_cannot_reach() -> None:
    """The subject of relay's own incidents is the engine or the destination."""
    lost = own_event("engine_lost", "connection refused")
    assert say(lost) == "engine edge is out of reach (connection refused)"
    back = resolved(subject="edge", problem=lost.problem)
    assert say(back) == "Resolved: engine edge is back after 2 min"
    failing = own_event("destination_failing", "HTTP 503")
    assert say(failing) == "destination edge takes no messages (HTTP 503)"
    taken = resolved(subject="edge", problem=failing.problem)
    assert say(taken) == "Resolved: destination edge takes messages again after 2 min"


def test_names_a_host_that_is_silent() -> None:
    """Its subject is the host, and not an engine."""
    event = make_self_event(
        "engine_lost",
        engine="relay",
        host="web-17",
        time_ns=CRASH.time_ns,
        attributes={"reason": "no heartbeat for 5m"},
    )
    lost = report(replace(event, via="fleet"), subject="web-17")
    assert say(lost) == "host web-17 is silent (no heartbeat for 5m)"
    back = resolved(subject="web-17", problem=lost.problem)
    assert say(back) == "Resolved: host web-17 is heard again after 2 min"
    assert describe_lasting_problem(lost) == ""


def test_an_error_is_named_while_it_lasts() -> None:
    """What cannot be started says why, on one line."""
    failed = problem(action="start_failed", cause=None, exit_code=None, error="no such file:\nx")
    incident = report(problem=failed, subject="web")
    assert say(incident) == r"web cannot be started (no such file:\nx)"
    service = replace(incident, problem=replace(failed, type="service"))
    assert say(service) == r"service web cannot start its tasks (no such file:\nx)"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "1 s"),
        (3, "3 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3_708, "62 min"),
        (86_400, "24 h"),
        (8 * 86_400, "8 d"),
    ],
)
def test_durations_are_short(seconds: float, expected: str) -> None:
    """One unit, as people say it."""
    assert format_span(round(seconds * SECOND_NS)) == expected
