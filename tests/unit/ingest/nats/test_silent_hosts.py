"""Hosts that fall silent, from their last heartbeats to the messages that people get."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from relay.core.incident import Status
from relay.core.notification import Notification
from relay.destinations.catalog import parse_config
from relay.incidents.incidents import EngineClocks, Incidents
from relay.incidents.policy import build_policies
from relay.incidents.rows import RowChanges, decode_rows
from relay.incidents.state import Rows
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.nats.seen import SeenEvents
from relay.nats.puller import PulledMessage
from relay.routing.router import Router
from tests.unit.ingest.nats.samples import (
    ENGINE,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    make_heartbeat,
    make_message,
    make_pipeline,
)

if TYPE_CHECKING:
    from relay.store.records import HostRow

CONFIG = parse_config(
    """
engines: {fleet: {type: nats, url: nats://a, stream: S, consumer: C}}
destinations: {ops: {type: console, notify: incidents}}
routes:
  - {name: own, match: {type: relay, action: [engine_lost, engine_back]}, to: ops}
""",
    file="f",
    environ={},
    folder=Path("/"),
)
SILENT_NS = 5 * MINUTE_NS


class Hub:
    """A hub on virtual time: its stream is open and was read, and its store keeps everything."""

    def __init__(self) -> None:
        self.now_ns = HOUR_NS
        self.sent: list[Notification] = []
        self._rows: dict[tuple[str, str], bytes | None] = {}
        self._hosts: dict[str, HostRow] = {}
        self._seq = 0
        self.start(Rows())

    def start(self, rows: Rows) -> None:
        """The daemon starts with what is stored."""
        clocks = EngineClocks(lambda: self.now_ns, lambda: self.now_ns)
        router = Router(CONFIG.routes)
        self.incidents = Incidents(rows, build_policies(CONFIG), router, clocks)
        hosts = HostWatch(ENGINE, SILENT_NS, self._hosts.values(), now_ns=self.now_ns)
        self.pipeline = make_pipeline(
            *CONFIG.routes, incidents=self.incidents, seen=SeenEvents(HOUR_NS), hosts=hosts
        )
        self.incidents.stream_opened(ENGINE, 0, is_local=True)
        self.incidents.caught_up(ENGINE)
        hosts.resume(self.now_ns)

    def restart(self) -> None:
        """The daemon is killed, and starts again."""
        stored = [(*key, it) for key, it in self._rows.items() if it is not None]
        self.start(decode_rows(stored))

    def beat(self, *hosts: str) -> None:
        """Hosts send heartbeats."""
        messages: list[PulledMessage] = []
        for host in hosts:
            self._seq += 1
            event = make_heartbeat(self.now_ns + self._seq)
            messages.append(make_message(self._seq, event, host))
        self._process(messages)

    def wait(self, seconds: int) -> None:
        """Time passes; the session looks for silent hosts every few seconds, as it does."""
        for _ in range(seconds):
            self.now_ns += SECOND_NS
            self._process([])
            due = self.incidents.due()
            self._keep(self.incidents.take_changes())
            for notification, (destination,) in due.notifications:
                self.sent.append(notification)
                self.incidents.settled(destination, notification.id, delivered=True)
                self._keep(self.incidents.take_changes())

    def _process(self, messages: Sequence[PulledMessage]) -> None:
        commit = self.pipeline.process(messages, self.now_ns, self.now_ns).commit
        if commit is not None:
            assert not commit.notifications
            self._keep(commit.incident_rows)
            self._hosts |= {row.host: row for row in commit.hosts}

    def _keep(self, rows: RowChanges) -> None:
        self._rows.update(rows)


def subjects(notification: Notification) -> list[str]:
    assert notification.update is not None
    return sorted(report.subject for report in notification.update.incidents)


def test_a_rack_dies() -> None:
    """Thirty hosts, whose heartbeats came at any time of their minute, are one message; so is
    their return. One host that lives is in neither."""
    hub, random = Hub(), Random(1)
    rack = [f"web-{number}" for number in range(30)]
    phase = {host: random.randrange(60) for host in [*rack, "alive"]}
    for second in range(180):
        hub.beat(*(host for host, at in phase.items() if at == second % 60))
        hub.wait(1)
    for second in range(420):
        hub.beat(*(["alive"] if second % 60 == phase["alive"] else []))
        hub.wait(1)
    (message,) = hub.sent
    assert subjects(message) == sorted(rack)
    for second in range(180):
        hub.beat(*(host for host, at in phase.items() if at == second % 60))
        hub.wait(1)
    assert {name for sent in hub.sent[1:] for name in subjects(sent)} == set(rack)
    assert {sent.status for sent in hub.sent[1:]} == {Status.RESOLVED}
    assert len(hub.sent) <= 3


def test_a_restart_while_a_host_is_silent() -> None:
    """It is not reported again; its return is."""
    hub = Hub()
    hub.beat("web-1", "web-2")
    for _ in range(6):
        hub.wait(60)
        hub.beat("web-2")
    hub.wait(30)
    assert [subjects(each) for each in hub.sent] == [["web-1"]]
    hub.restart()
    for _ in range(10):
        hub.wait(60)
        hub.beat("web-2")
    assert len(hub.sent) == 1
    hub.beat("web-1")
    for _ in range(3):
        hub.wait(60)
        hub.beat("web-1", "web-2")
    (_, back) = hub.sent
    assert (subjects(back), back.status) == (["web-1"], Status.RESOLVED)


def test_a_host_that_falls_silent_while_the_hub_is_down() -> None:
    """It is noticed as long after the start as it would be otherwise."""
    hub = Hub()
    hub.beat("web-1")
    hub.wait(10)
    hub.restart()
    hub.wait(SILENT_NS // SECOND_NS - 20)
    assert hub.sent == []
    hub.wait(60)
    assert [subjects(each) for each in hub.sent] == [["web-1"]]


def test_two_hosts_send_the_same_event_id() -> None:
    """Neither can make the notification of the other look like a repetition."""
    pipeline = make_pipeline()
    event = replace(make_heartbeat(), type="container", action="start")
    messages = [make_message(seq, event, host) for seq, host in ((1, "web-1"), (2, "web-2"))]
    commit = pipeline.process(messages, 0, 0).commit
    assert commit is not None
    assert len({notification.id for notification, _ in commit.notifications}) == 2
