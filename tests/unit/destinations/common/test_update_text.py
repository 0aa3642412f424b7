"""The headline and the lines of a message about incidents and plain events."""

import pytest
from msgspec.structs import replace

from relay.core.incident import Update, UpdateReason
from relay.core.notification import LATE_NS, Notification, mark_late
from relay.core.text import utf16_length
from relay.core.zone import UTC_ZONE
from relay.destinations.common.card import Card
from relay.destinations.common.headline import headline
from relay.destinations.common.pieces import join
from relay.destinations.common.service import CustomText
from relay.destinations.slack import SlackDestination
from tests.unit.destinations.samples import CRASH, crash_of, filled, with_fields
from tests.unit.destinations.updates import (
    CRASH_LOOPING,
    FOR_PEOPLE,
    OPENED,
    RESOLVED,
    SECOND_NS,
    made,
    problem,
    report,
    update_of,
)


def lines(notification: Notification, limit: int = 2_000) -> list[str]:
    """The lines of a message."""
    return join(Card(notification).body_pieces(limit)).split("\n")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (
            "opened, a group",
            "shop: 3 containers crashed: db-1, api-1, worker-1",
        ),
        ("mixed", "shop-worker-1 crashed with exit code 42 and is up again (2 resolved)"),
        ("reminder", "Still down for up to 24 h: shop-web-1, db"),
        ("plain events", "shop: 3 stopped, 3 removed, 3 started"),
        ("delayed", "(07:29 UTC, delayed) shop-web-1 crashed with exit code 42 and is down"),
    ],
)
def test_says_what_happened_to_several(what: str, expected: str) -> None:
    """What they have in common, and their names."""
    assert headline(FOR_PEOPLE[what], 200, zone=UTC_ZONE) == expected


def test_leaves_out_names_before_words() -> None:
    """A short headline says how many there are."""
    many = FOR_PEOPLE["100 incidents and 9,900 more"]
    assert (
        headline(many, 66, zone=UTC_ZONE)
        == "10,000 containers failed: web-0, web-1, web-2 and 9,997 more"
    )
    assert lines(many)[-2:] == ["and 9,980 more", "Host: node-1 (engine “here”)"]
    assert len(lines(many)) == 22
    assert lines(many, 200)[3:] == ["and 9,997 more", "Host: node-1 (engine “here”)"]


@pytest.mark.parametrize("limit", [60, 200, 2_000])
def test_lines_keep_their_limit(limit: int) -> None:
    """The last one says how many are not there."""
    for notification in FOR_PEOPLE.values():
        assert utf16_length(join(Card(notification).body_pieces(limit))) <= limit


def test_each_line_has_its_own_state() -> None:
    """The most severe first; a host only if it is not that of all, and nothing that the headline
    says."""
    assert lines(FOR_PEOPLE["mixed"]) == [
        "🟢 shop-db-1 is up again after 2 min",
        "🟢 shop-api-1 is up again after 2 min",
        "Host: node-1 (engine “here”)",
        "Logs: docker logs --since 2026-11-23T07:28:49Z shop-worker-1",
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
    update = Update(UpdateReason.EVENTS, actions={"die": 2}, names=("a", "b"))
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
    assert (
        headline(overflow, 200, zone=UTC_ZONE)
        == "Too many incidents: shop: 3 stopped, 3 removed, 3 started"
    )
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
        (update_of(report(reason=UpdateReason.REOPENED)), "Again: Shop!"),
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
    to = SlackDestination.model_validate({"url": "https://x", "title": title})
    card = CustomText(to, (), lambda key, why: None, zone=UTC_ZONE).make_card(RESOLVED)
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
    """What remains is what it is about; the headline says how long it lasted."""
    assert list(dict(Card(FOR_PEOPLE["resolved"]).facts)) == ["Host", "Image"]
    assert Card(FOR_PEOPLE["resolved"]).time == "2026-11-23T08:31:38Z"


def test_what_relay_cannot_reach_says_what_that_means() -> None:
    """The headline names the engine, so the host does not."""
    facts = Card(FOR_PEOPLE["engine lost"]).facts
    seen = "what its containers do is not seen; relay keeps trying"
    assert facts == [("Host", "node-2"), ("Meanwhile", seen)]


def test_an_open_problem_says_what_explains_it() -> None:
    """The memory limit after a kill for memory, the policy unless the headline says it."""
    facts = dict(Card(FOR_PEOPLE["out of memory"]).facts)
    assert facts["Memory limit"] == "256 MiB"
    assert facts["Restart policy"] == "always; restarted once so far"
    assert list(dict(Card(FOR_PEOPLE["given up"]).facts)) == ["Host", "Image", "Logs"]


def test_a_message_is_late_after_five_minutes() -> None:
    """It then says when it was made, with the day if that is another one."""
    update = made(OPENED, 0)
    assert mark_late(update, CRASH.time_ns + LATE_NS) is update
    late = mark_late(update, CRASH.time_ns + 24 * 3_600 * SECOND_NS)
    assert headline(late, 200, zone=UTC_ZONE).startswith(
        "(2026-11-23 07:29 UTC, delayed) shop-web-1 crashed"
    )
    events = Notification("ntf_1", "r", (CRASH,))
    assert mark_late(events, CRASH.time_ns * 2) is events


def test_one_plain_event_has_its_own_sentence() -> None:
    """The same as in a message without groups."""
    event = with_fields(crash_of("web"), action="start", cause=None, exit_code=None)
    single = Notification(
        "ntf_1", "r", (event,), update=Update(UpdateReason.EVENTS, actions={"start": 1})
    )
    assert headline(single, 200, zone=UTC_ZONE) == "web started"
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
