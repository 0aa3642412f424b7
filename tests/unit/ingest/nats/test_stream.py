"""What follows from whether the stream is open."""

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.ingest.nats import stream as stream_module
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.nats.stream import LOST_AFTER_S, STALL_S, TAKEN_AFTER_S, StreamMonitor
from tests.unit.ingest.nats.samples import ENGINE, MINUTE_NS, make_message


class Stage:
    """A monitor on a clock of its own, and what it has told others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(stream_module, "loop_time_s", lambda: self.now_s)
        self.told: list[tuple[str, ...]] = []
        self.connection = SimpleNamespace(is_connected=False)
        self.puller = SimpleNamespace(problem=None, info=None, is_standby=False)
        incidents = SimpleNamespace(
            stream_opened=lambda *_, **__: self.told.append(("opened",)),
            stream_ended=lambda *_: self.told.append(("ended",)),
            caught_up=lambda *_: self.told.append(("caught up",)),
            taken_elsewhere=lambda *_: self.told.append(("taken elsewhere",)),
        )
        context = SimpleNamespace(
            incidents=incidents,
            on_engine_change=lambda action, engine, facts: self.told.append(
                (action, engine, *facts.values())
            ),
            now=lambda: int(self.now_s * 1e9),
        )
        self.hosts = HostWatch(ENGINE, MINUTE_NS)
        make: Any = StreamMonitor
        self.monitor: StreamMonitor = make(
            ENGINE, self.connection, self.puller, self.hosts, context
        )

    def open(self) -> None:
        """Let the stream be open."""
        self.connection.is_connected = True
        self.puller.info = SimpleNamespace(lag=7)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and let the monitor look."""
        self.now_s += seconds
        self.monitor.check()

    @property
    def hears_hosts(self) -> bool:
        """Whether the silence of a host counts."""
        return self.hosts._resumed_ns is not None


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A monitor whose stream is not open yet."""
    return Stage(monkeypatch)


def test_a_stream_that_is_away_for_long_is_reported_once(stage: Stage) -> None:
    """Not while a server restarts; and when it is back."""
    stage.pass_time(LOST_AFTER_S - 1)
    assert stage.told == []
    stage.puller.problem = "nats1:4222: connection refused"
    stage.pass_time(1)
    stage.pass_time(99)
    assert stage.told == [("engine_lost", ENGINE, "nats1:4222: connection refused")]
    stage.open()
    stage.pass_time(1)
    assert not stage.monitor.is_open
    stage.puller.problem = None
    stage.pass_time(1)
    assert stage.told[1:] == [("opened",), ("engine_back", ENGINE, str(LOST_AFTER_S + 101))]
    assert stage.monitor.is_open
    assert stage.monitor.behind == 7


def test_a_short_loss_is_no_event(stage: Stage) -> None:
    """But the incidents know: meanwhile nothing is confirmed."""
    stage.open()
    stage.pass_time(1)
    stage.connection.is_connected = False
    stage.pass_time(LOST_AFTER_S - 1)
    stage.connection.is_connected = True
    stage.pass_time(1)
    assert stage.told == [("opened",), ("ended",), ("opened",)]
    stage.monitor.close()
    stage.monitor.close()
    assert stage.told[3:] == [("ended",)]


def test_hosts_are_heard_once_nothing_waits(stage: Stage) -> None:
    """Before that a heartbeat may be behind other messages; and each time when some wait again."""
    stage.open()
    assert not stage.monitor.on_batch([make_message(1, pending=1)])
    assert not stage.hears_hosts
    assert stage.monitor.on_batch([make_message(2, pending=9), make_message(3, pending=0)])
    assert stage.hears_hosts
    assert not stage.monitor.on_batch([make_message(4, pending=99)])
    assert stage.hears_hosts  # for as long as before: it only cannot be said now who is silent
    assert stage.told == [("opened",), ("caught up",)]


def test_hosts_are_heard_if_nothing_comes(stage: Stage) -> None:
    """A stream without messages has none that waits. One that is not open may have."""
    assert not stage.monitor.on_batch([])
    assert not stage.hears_hosts
    stage.open()
    assert stage.monitor.on_batch([])
    assert stage.hears_hosts


@pytest.mark.parametrize("why", ["lost", "standby", "stalled"])
def test_hosts_are_not_heard(stage: Stage, why: str) -> None:
    """While the stream is away, another hub gets everything, or nothing is read."""
    stage.open()
    stage.monitor.on_batch([])
    stage.connection.is_connected = why != "lost"
    stage.puller.is_standby = why == "standby"
    if why == "stalled":
        stage.now_s += STALL_S + 1
        stage.monitor.on_batch([make_message(1, pending=9)])
    stage.monitor.check()
    assert not stage.hears_hosts
    stage.connection.is_connected, stage.puller.is_standby = True, False
    stage.monitor.on_batch([])
    assert stage.hears_hosts


def test_a_standby_hears_nothing(stage: Stage) -> None:
    """Once it has been one for longer than an old pin lives, another relay has the events."""
    stage.open()
    stage.puller.is_standby = True
    stage.pass_time(1)
    stage.pass_time(TAKEN_AFTER_S - 1)
    assert stage.told == []
    stage.pass_time(1)
    stage.pass_time(99)
    assert stage.told == [("taken elsewhere",)]
    stage.puller.is_standby = False
    stage.pass_time(1)
    assert stage.told[1:] == [("opened",)]
    stage.puller.is_standby = True
    stage.pass_time(1)
    stage.pass_time(TAKEN_AFTER_S)
    assert stage.told[2:] == [("ended",), ("taken elsewhere",)]


def test_the_log_says_which_hub_takes_the_events(stage: Stage) -> None:
    """When that changes, and once."""
    with capture_logs() as logs:
        stage.open()
        stage.puller.is_standby = True
        stage.pass_time(1)
        stage.pass_time(1)
        stage.puller.is_standby = False
        stage.pass_time(1)
        stage.pass_time(1)
    assert [entry["event"] for entry in logs] == [
        *("engine.connected", "stream.standby", "stream.taken_over")
    ]


def test_a_restart_is_no_standby(stage: Stage) -> None:
    """The pin of the process before lives for a while."""
    stage.open()
    stage.puller.is_standby = True
    stage.pass_time(1)
    stage.pass_time(10)
    stage.puller.is_standby = False
    stage.pass_time(1)
    assert stage.told == [("opened",)]
