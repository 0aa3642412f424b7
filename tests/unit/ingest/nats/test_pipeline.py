"""From pulled messages to a commit, and what is acknowledged after it."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.config import Config, Route
from relay.core.event import Event
from relay.core.include import Included
from relay.destinations.catalog import parse_config
from relay.incidents.incidents import EngineClocks, Incidents, without_incidents
from relay.incidents.policy import build_policies
from relay.incidents.state import Rows
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.nats.pipeline import ProcessedBatch
from relay.ingest.nats.seen import SeenEvents
from relay.ingest.nats.unreadable import KEPT_BYTES, MAX_HOSTS, REPORT_INTERVAL_NS
from relay.routing.router import Router
from tests.unit.ingest.nats.samples import (
    CONTAINERS,
    DEATHS,
    ENGINE,
    HOUR_NS,
    MINUTE_NS,
    SELF_EVENTS,
    make_death,
    make_heartbeat,
    make_message,
    make_pipeline,
    numbers,
)

if TYPE_CHECKING:
    from relay.store.records import SeenChunk


def events(batch: ProcessedBatch) -> list[Event]:
    """The events that are sent at once."""
    assert batch.commit is not None
    return [notification.events[0] for notification, _ in batch.commit.notifications]


def test_the_order_is_that_of_the_stream() -> None:
    """Whatever the order in which messages are delivered."""
    messages = [make_message(seq) for seq in (3, 1, 2)]
    batch = make_pipeline().process(messages, 0, 0)
    assert [event.time_ns for event in events(batch)] == [1, 2, 3]
    assert numbers(batch.to_ack) == [1, 2, 3]
    assert batch.to_terminate == []


def test_who_sent_an_event_is_what_the_subject_says() -> None:
    """The body may claim another host, and another way."""
    event = make_death(host="web-9", via="elsewhere")
    (sent,) = events(make_pipeline().process([make_message(1, event, "web-1")], 0, 0))
    assert (sent.host, sent.via, sent.engine) == ("web-1", ENGINE, "local")


def test_a_known_event_is_acknowledged_and_leads_to_nothing() -> None:
    """In the same batch, in a later one, and with what the store has after a restart."""
    pipeline = make_pipeline()
    first = pipeline.process([make_message(1), make_message(2, make_death(1))], 5, 5)
    assert len(events(first)) == 1
    assert numbers(first.to_ack) == [1, 2]
    again = pipeline.process([make_message(3, make_death(1))], 6, 6)
    assert again.commit is None
    assert numbers(again.to_ack) == [3]
    assert first.commit is not None
    restarted = make_pipeline(seen=SeenEvents(HOUR_NS, first.commit.seen, now_ns=7))
    assert restarted.process([make_message(3, make_death(1))], 8, 8).commit is None
    assert (pipeline.counters.accepted, pipeline.counters.duplicates) == (1, 2)


def test_an_event_that_no_route_sends_is_not_stored() -> None:
    """It is acknowledged. In a batch with others only these are remembered."""
    pipeline = make_pipeline(DEATHS)
    start = make_death(1, action="start")
    batch = pipeline.process([make_message(1, start)], 0, 0)
    assert batch.commit is None
    assert numbers(batch.to_ack) == [1]
    both = pipeline.process([make_message(1, start), make_message(2)], 0, 0).commit
    assert both is not None
    assert [len(chunk.keys) for chunk in both.seen] == [8]


@pytest.mark.parametrize(
    ("subject", "body", "words"),
    [
        ("relay.events.web-1.container.die", b"{", "is not the event of a relay"),
        ("relay.events.web-1.container.die", b"", "is not the event of a relay"),
        ("relay.events.web-1.container.die", b"\xff\x00", "is not the event of a relay"),
        ("relay.events.web-1.container.die", b'{"data": {"event": 5}}', "is not the event"),
        ("relay.events.web-1.container.die", b"[" * 5000, "is not the event of a relay"),
        ("relay.events.web-1.container.die", b"x" * (2**20 + 1), "has 1048577 bytes"),
        ("relay.events.web-1", None, "has a subject that is not"),
        ("orders.new", None, "has a subject that is not"),
        ("relay.events.web-1.container.die.more", None, "has a subject that is not"),
    ],
)
def test_a_message_that_is_no_event(subject: str, body: bytes | None, words: str) -> None:
    """It becomes a dead letter with its text, and is terminated after the commit."""
    pipeline = make_pipeline()
    message = make_message(1, subject=subject, body=body)
    batch = pipeline.process([message, make_message(2)], 3, 4)
    ((terminated, reason),) = batch.to_terminate
    assert terminated is message
    assert words in reason
    assert batch.commit is not None
    ((notification, kept_reason),) = batch.commit.unreadable
    assert kept_reason == reason
    (event,) = notification.events
    assert event.host == ("web-1" if subject.endswith("web-1.container.die") else ENGINE)
    assert event.via == ENGINE
    attributes = event.actor.attributes
    assert attributes["subject"] == subject
    assert attributes["sequence"] == "1"
    assert attributes["message"] == message.body[:KEPT_BYTES].decode(errors="replace")
    assert pipeline.counters.malformed == {"unreadable": 1}
    assert numbers(batch.to_ack) == [2]


def test_unreadable_messages_are_reported_now_and_then() -> None:
    """Each host at most once a minute, with how many they were; the rest at the end."""
    pipeline = make_pipeline(SELF_EVENTS)

    def process(*seqs: int, at_ns: int, is_final: bool = False) -> list[tuple[str, str]]:
        bodies = [make_message(seq, host=f"web-{seq % 2}", body=b"{") for seq in seqs]
        batch = pipeline.process(bodies, at_ns, at_ns, is_final=is_final)
        found = [] if batch.commit is None else events(batch)
        return [(event.host, event.actor.attributes["count"]) for event in found]

    assert process(1, 2, 3, at_ns=5) == [("web-1", "2"), ("web-0", "1")]
    assert process(4, at_ns=6) == []
    assert process(at_ns=5 + REPORT_INTERVAL_NS - 1) == []
    assert process(at_ns=5 + REPORT_INTERVAL_NS) == [("web-0", "1")]
    assert process(5, at_ns=6 + REPORT_INTERVAL_NS) == []
    assert process(at_ns=7 + REPORT_INTERVAL_NS, is_final=True) == [("web-1", "1")]
    assert process(6, at_ns=8 + REPORT_INTERVAL_NS) == []
    assert process(at_ns=1) == [("web-0", "1")]  # the wall clock was set back
    assert pipeline.counters.gaps == {"record_invalid": 5}


def test_a_report_names_a_limited_number_of_hosts() -> None:
    """Whoever may publish under any name cannot make a flood of events."""
    pipeline = make_pipeline(SELF_EVENTS)
    messages = [make_message(seq, host=f"h{seq}", body=b"") for seq in range(3 * MAX_HOSTS)]
    assert len(events(pipeline.process(messages, 0, 0))) == MAX_HOSTS


def test_silent_hosts_are_reported_without_messages() -> None:
    """In the same commit in which the store learns of it."""
    hosts = HostWatch(ENGINE, MINUTE_NS)
    hosts.resume(0)
    pipeline = make_pipeline(SELF_EVENTS, hosts=hosts)
    first = pipeline.process([make_message(1, make_heartbeat())], 0, 0).commit
    assert first is not None
    assert [row.host for row in first.hosts] == ["web-1"]
    assert pipeline.process([], MINUTE_NS - 1, 0).commit is None
    # The heartbeat may be among what waits.
    assert pipeline.process([], MINUTE_NS, 0, is_drained=False).commit is None
    batch = pipeline.process([], MINUTE_NS, 0)
    assert batch.commit is not None
    assert [event.action for event in events(batch)] == ["engine_lost"]
    assert [row.lost_ns for row in batch.commit.hosts] == [MINUTE_NS]
    again = pipeline.process([make_message(2, make_heartbeat(2))], 2 * MINUTE_NS, 0)
    assert [event.action for event in events(again)] == ["engine_back", "heartbeat"]


def test_a_new_store_gets_all_that_is_known() -> None:
    """With the next commit, even without a message."""
    pipeline = make_pipeline(CONTAINERS, SELF_EVENTS)
    pipeline.process([make_message(1), make_message(2, make_heartbeat())], 0, 0)
    pipeline.process([make_message(3)], 1, 1)
    pipeline.resend_all()
    commit = pipeline.process([], 2, 2).commit
    assert commit is not None
    assert [chunk.number for chunk in commit.seen] == [0, 1]
    assert [row.host for row in commit.hosts] == ["web-1"]
    assert pipeline.process([], 3, 3).commit is None


def test_what_the_host_included_comes_with_the_notification() -> None:
    """Without a wait."""
    route = Route.model_validate({"name": "all", "to": ["ops"], "include": {"logs": 1}})
    included = Included(logs=("a", "b"))
    batch = make_pipeline(route).process([make_message(1, included=included)], 0, 0)
    assert batch.commit is not None
    ((notification, _),) = batch.commit.notifications
    assert (notification.include, notification.included) == (None, Included(logs=("b",)))


def make_config(keys: str = "") -> Config:
    """A configuration in which deaths are incidents of a chat; ``keys`` are keys of the route."""
    text = f"""
    destinations: {{ops: {{type: slack, url: "https://hooks.slack.com/services/T/B/x"}}}}
    routes: [{{name: died, match: {{action: die}}, to: ops, {keys}}}]
    """
    return parse_config(text, file="test", environ={}, folder=Path("/"))


def make_incidents(config: Config, now_ns: int) -> Incidents:
    """The incidents of a configuration, at a moment."""
    clocks = EngineClocks(lambda: now_ns, lambda: now_ns)
    return Incidents(Rows(), build_policies(config), Router(config.routes), clocks)


def test_what_another_host_included_with_the_same_id_stays_with_its_event() -> None:
    """A host can choose the ids of its events, and may know those of others."""
    route = Route.model_validate({"name": "all", "to": ["ops"], "include": {"logs": 1}})
    messages = [
        make_message(seq, make_death(1), host, included=Included(logs=(host,)))
        for seq, host in enumerate(("web-1", "web-2"))
    ]
    commit = make_pipeline(route).process(messages, 0, 0).commit
    assert commit is not None
    found = [notification.included for notification, _ in commit.notifications]
    assert found == [Included(logs=("web-1",)), Included(logs=("web-2",))]


def test_an_incident_has_what_the_host_included() -> None:
    """Its message is made later, and nobody can be asked then."""
    config = make_config("include: {logs: 5}")
    incidents = make_incidents(config, 10**18)
    pipeline = make_pipeline(*config.routes, incidents=incidents)
    death, included = make_death(10**18), Included(logs=("a", "b"))
    pipeline.process([make_message(1, death, included=included)], 10**18, 10**18)
    assert [incident.included for incident in incidents.list_incidents()] == [included]


def test_the_clock_of_a_host_is_known_from_its_messages() -> None:
    """By what it wrote when it published, beside when the server stored that."""
    known: list[tuple[str, str, int]] = []
    incidents = without_incidents()
    incidents.set_host_clock = lambda *clock: known.append(clock)  # type: ignore[method-assign]
    pipeline = make_pipeline(incidents=incidents)
    headers = [{"Relay-Sent-At": text} for text in ("1", "5000", "x", "-1", "9" * 30, "²")]
    messages = [
        replace(make_message(seq, host=f"h{seq // 2}"), headers=header)
        for seq, header in enumerate(headers)
    ]
    pipeline.process(messages, 0, 0)
    assert known == [(ENGINE, "h0", 5000 - messages[1].stored_ns)]


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(), timedelta(hours=-1)])
def test_a_host_whose_clock_is_wrong_by_an_hour(ahead: timedelta) -> None:
    """Its incidents open and are counted; an event that comes again changes nothing."""
    config, now_ns = make_config(), 10**18
    incidents = make_incidents(config, now_ns)
    pipeline = make_pipeline(*config.routes, incidents=incidents)
    time_ns = now_ns + int(ahead.total_seconds() * 1e9)
    death = make_death(time_ns)
    first = pipeline.process([make_message(1, death)], now_ns, now_ns)
    assert first.commit is not None
    assert first.commit.seen
    assert first.commit.incident_rows
    (incident,) = incidents.list_incidents()
    assert incident.is_open
    again = pipeline.process([make_message(2, death)], now_ns + HOUR_NS - 1, now_ns)
    assert again.commit is None
    assert incidents.list_incidents() == [incident]


@given(st.lists(st.integers(0, 12), max_size=40), st.data())
def test_every_event_is_sent_once(stream: list[int], data: st.DataObject) -> None:
    """However a stream repeats and cuts it, and whenever relay is killed before an ack."""
    pipeline = make_pipeline()
    sent: list[int] = []
    stored: dict[int, SeenChunk] = {}
    left = [make_message(seq, make_death(number)) for seq, number in enumerate(stream, 1)]
    while left:
        size = data.draw(st.integers(1, len(left)))
        batch = pipeline.process(data.draw(st.permutations(left[:size])), 0, 0)
        if batch.commit is not None:
            sent += [event.time_ns for event in events(batch)]
            stored |= {chunk.number: chunk for chunk in batch.commit.seen}
        if data.draw(st.booleans()):  # killed before the acknowledgement: all come again
            pipeline = make_pipeline(seen=SeenEvents(HOUR_NS, stored.values()))
            if data.draw(st.booleans()):
                continue
        left = left[size:]
    assert sent == list(dict.fromkeys(stream))
