"""What people are notified about incidents, in words."""

from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.event import Cause, make_self_event
from relay.core.incident import (
    Condition,
    IncidentReport,
    Problem,
    Resolution,
    Update,
    UpdateReason,
    describe_problem,
)
from relay.core.notification import LATE_NS, Notification, mark_late
from relay.core.text import utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.headline import headline
from relay.destinations.common.incident_line import format_minute, format_span
from relay.destinations.common.pieces import join
from relay.destinations.common.service import CustomText
from tests.unit.destinations.samples import CRASH, OOM, UNHEALTHY, crash_of, filled, with_fields
from tests.unit.destinations.updates import (
    CRASH_LOOPING,
    FOR_PEOPLE,
    OPENED,
    RESOLVED,
    SECOND_NS,
    crash_looping,
    made,
    report,
    resolved,
    update_of,
)

UP, DOWN, SICK = Condition.UP, Condition.DOWN, Condition.UNHEALTHY
REASON = UpdateReason


def say(incident: IncidentReport, after_s: float = 3.0) -> str:
    """The headline about one incident."""
    return headline(made(update_of(incident), after_s), 200)


def lines(notification: Notification, limit: int = 2_000) -> list[str]:
    """The lines of a message."""
    return join(Card(notification).body_pieces(limit)).split("\n")


def ago(seconds: float) -> int:
    """When an incident began, so long before its last crash."""
    return CRASH.time_ns - round(seconds * SECOND_NS)


def problem(**fields: Any) -> Problem:
    """The last crash, with other facts."""
    return replace(describe_problem(CRASH, CRASH), **fields)


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
            "web ran out of memory (OOM) and ended with exit code 137 (SIGKILL) and is down",
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
        (report(reason=REASON.REMINDER), "Still down for 3 s: web"),
    ],
)
def test_says_what_happened_and_how_it_is(incident: IncidentReport, expected: str) -> None:
    """One sentence for each state of an open incident."""
    assert say(replace(incident, subject="web")) == expected


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
            "web crashed with exit code 42; it is up again after 2 min",
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


def test_an_error_is_named_while_it_lasts() -> None:
    """What cannot be started says why, on one line."""
    failed = problem(action="start_failed", cause=None, exit_code=None, error="no such file:\nx")
    incident = report(problem=failed, subject="web")
    assert say(incident) == r"web cannot be started (no such file:\nx)"
    service = replace(incident, problem=replace(failed, type="service"))
    assert say(service) == r"service web cannot start its tasks (no such file:\nx)"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (
            "opened, a group",
            "shop: 3 containers crashed: shop-db-1, shop-api-1, shop-worker-1",
        ),
        ("mixed", "shop-worker-1 crashed with exit code 42 and is up again (2 resolved)"),
        ("reminder", "Still down for up to 24 h: shop-web-1, db"),
        ("plain events", "shop: 3 stopped, 3 removed, 3 started"),
        ("delayed", "(07:29 UTC, delayed) shop-web-1 crashed with exit code 42 and is down"),
    ],
)
def test_says_what_happened_to_several(what: str, expected: str) -> None:
    """What they have in common, and their names."""
    assert headline(FOR_PEOPLE[what], 200) == expected


def test_leaves_out_names_before_words() -> None:
    """A short headline says how many there are."""
    many = FOR_PEOPLE["100 incidents and 9,900 more"]
    assert headline(many, 66) == "10,000 containers failed: web-0, web-1, web-2 and 9,997 more"
    assert lines(many)[-2:] == ["and 9,980 more", "Host: node-1 (engine “here”)"]
    assert len(lines(many)) == 22
    assert lines(many, 200)[3:] == ["and 9,997 more", "Host: node-1 (engine “here”)"]


@pytest.mark.parametrize("limit", [60, 200, 2_000])
def test_lines_keep_their_limit(limit: int) -> None:
    """The last one says how many are not there."""
    for notification in FOR_PEOPLE.values():
        assert utf16_length(join(Card(notification).body_pieces(limit))) <= limit


def test_each_line_has_its_own_state() -> None:
    """The most severe first; a host only if it is not that of all."""
    assert lines(FOR_PEOPLE["mixed"]) == [
        "🔴 shop-worker-1 crashed with exit code 42 and is up again",
        "🟢 shop-db-1 is up again after 2 min",
        "🟢 shop-api-1 is up again after 2 min",
        "Host: node-1 (engine “here”)",
    ]
    far = replace(report(subject="far"), problem=problem(host="node-2"))
    assert lines(made(update_of(report(subject="near"), far)))[1:] == [
        "🔴 far crashed with exit code 42 and is down · on node-2"
    ]
    beside = replace(report(subject="beside"), problem=problem(engine="podman"))
    assert lines(made(update_of(report(subject="near"), beside))) == [
        "🔴 near crashed with exit code 42 and is down · on node-1 (engine “here”)",
        "🔴 beside crashed with exit code 42 and is down · on node-1 (engine “podman”)",
    ]


def test_each_event_of_several_hosts_has_its_host() -> None:
    """So has the line of a plain event; a message from several hosts names none as its own."""
    events = tuple(with_fields(crash_of(name), host=f"node-{name}") for name in ("a", "b"))
    update = Update(REASON.EVENTS, actions={"die": 2}, names=("a", "b"))
    card = Card(Notification("ntf_1", "r", events, count=2, update=update))
    assert join(card.body_pieces(500)).split("\n") == [
        "• a crashed with exit code 42 · on node-a",
        "• b crashed with exit code 42 · on node-b",
    ]
    assert card.host == ""


def test_too_many_incidents_are_declared() -> None:
    """Problems that are reported as plain events are not followed."""
    plain = FOR_PEOPLE["plain events"]
    assert plain.update is not None
    overflow = replace(plain, update=replace(plain.update, overflow=True))
    assert headline(overflow, 200) == "Too many incidents: shop: 3 stopped, 3 removed, 3 started"
    assert lines(overflow)[0] == (
        "Too many incidents: a new problem is reported once, and its end is not"
    )


@pytest.mark.parametrize(
    ("notification", "expected"),
    [
        (OPENED, "Shop!"),
        (RESOLVED, "Resolved: Shop!"),
        (FOR_PEOPLE["reminder"], "Still down: Shop! (+1 more)"),
        (FOR_PEOPLE["opened, a group"], "Shop! (+2 more)"),
        (FOR_PEOPLE["plain events"], "Shop! (+8 more)"),
        (update_of(report(reason=REASON.REOPENED)), "Again: Shop!"),
        (FOR_PEOPLE["delayed"], "(07:29 UTC, delayed) Shop!"),
    ],
)
def test_a_title_of_the_configuration_has_the_status(
    notification: Notification, expected: str
) -> None:
    """What relay adds to it: the status, and how many more there are."""
    assert Card(notification, filled("Shop!")).title(200) == expected
    assert Card(notification, filled("Shop!"), title_has_status=True).title(200) == "Shop!"


@pytest.mark.parametrize(
    ("title", "adds"),
    [
        ("{{ event.name }}", True),
        ("{{ incident.subject }} is {{ incident.state }}", False),
        ("{{ incidents | length }}", False),
        ("{{ group.get('project') }}", False),
        ("{{ notification.status }}", False),
        ("{{ notification.count }}", True),
    ],
)
def test_a_title_that_names_the_incident_is_left_alone(title: str, adds: bool) -> None:
    """It says itself how the incident is."""
    card = CustomText(title, None, (), lambda key, why: None).make_card(RESOLVED)
    assert card.title(200).startswith("Resolved: ") == adds


def test_what_the_title_does_not_say_is_a_fact() -> None:
    """With a title of the configuration the sentence is in the message all the same."""
    said = "shop-web-1 is crash-looping: crashed 5 times with exit code 42"
    assert dict(Card(CRASH_LOOPING, filled("Shop!")).facts)["Incident"] == said
    both = Card(CRASH_LOOPING, filled("Shop!"), filled("call Ann"))
    assert join(both.body_pieces(500)) == f"🔴 {said}\nHost: node-1 (engine “here”)\ncall Ann"
    assert join(Card(OPENED, (), filled("call Ann")).body_pieces(500)) == "call Ann"
    group = Card(FOR_PEOPLE["opened, a group"], (), filled("call Ann"))
    assert join(group.body_pieces(500)).endswith("\ncall Ann")
    assert len(join(group.body_pieces(500)).split("\n")) == 5


def test_the_small_print_names_the_incident() -> None:
    """With its whole id, as commands take it."""
    assert Card(OPENED).notes == ["route crashed", "inc_3f1d0c5e7a9b4826b1d2c3e4f5a60718"]
    assert Card(FOR_PEOPLE["mixed"]).notes[1].endswith(" and 2 more")


def test_facts_of_a_problem_that_is_over_are_left_out() -> None:
    """What remains is what it is about, and when it began."""
    facts = dict(Card(FOR_PEOPLE["resolved"]).facts)
    assert list(facts) == ["Host", "Image", "Compose service", "Began"]
    assert Card(FOR_PEOPLE["resolved"]).time == "2026-11-23T08:31:38Z"


def test_a_message_is_late_after_five_minutes() -> None:
    """It then says when it was made, with the day if that is another one."""
    update = made(OPENED, 0)
    assert mark_late(update, CRASH.time_ns + LATE_NS) is update
    late = mark_late(update, CRASH.time_ns + 24 * 3_600 * SECOND_NS)
    assert headline(late, 200).startswith("(2026-11-23 07:29 UTC, delayed) shop-web-1 crashed")
    events = Notification("ntf_1", "r", (CRASH,))
    assert mark_late(events, CRASH.time_ns * 2) is events


def test_one_plain_event_has_its_own_sentence() -> None:
    """The same as in a message without groups."""
    event = with_fields(crash_of("web"), action="start", cause=None, exit_code=None)
    single = Notification(
        "ntf_1", "r", (event,), update=Update(REASON.EVENTS, actions={"start": 1})
    )
    assert headline(single, 200) == "web started"
    assert Card(single).body == ()


def test_names_what_has_no_line() -> None:
    """Ten events are listed, and up to 25 names."""
    plain = FOR_PEOPLE["plain events"]
    assert plain.update is not None
    update = replace(plain.update, names=("db", "api", "worker", "cron"), actions={"start": 12})
    shown = lines(replace(plain, count=12, update=update))
    assert shown[-2:] == ["• 3 more, also about cron", "Host: node-1 (engine “here”)"]
    without_names = lines(replace(plain, count=12, update=replace(update, names=())))
    assert without_names[-2:] == ["and 3 more", "Host: node-1 (engine “here”)"]


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


def test_a_time_of_another_day_has_its_day() -> None:
    """So nobody takes yesterday's for today's."""
    assert format_minute(CRASH.time_ns, CRASH.time_ns) == "07:29"
    assert format_minute(ago(86_400), CRASH.time_ns) == "2026-11-22 07:29"
