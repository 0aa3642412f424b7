"""``relay status``."""

import json
from time import time_ns

import pytest

from relay.admin import api
from relay.core.checkpoint import Checkpoint
from relay.core.exchange import Dead, Reason
from relay.core.status import (
    DaemonStatus,
    DestinationStatus,
    EngineStatus,
    SourceBacklog,
    StreamStatus,
)
from relay.store.outbox import Outbox
from relay.store.records import Ack, IngestCommit
from tests.unit.cli.cli_store import (
    HEALTHY,
    HOSTILE,
    SECOND_NS,
    THEN_NS,
    Installation,
    failure,
    in_store,
    run,
    running_relay,
)
from tests.unit.store.samples import make_commit, make_notification

NOW_NS = THEN_NS + 3_750 * SECOND_NS
UNKNOWN = "not configured: all become dead letters when relay starts"
CLOSED = EngineStatus(None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0))
BUSY = EngineStatus(NOW_NS - 12 * SECOND_NS, StreamStatus(True, behind=40, gaps=2, reconnects=7))


async def add_some(outbox: Outbox) -> None:
    """Two deliveries, one for a destination that is not configured, and an engine's position."""
    await outbox.commit(make_commit(make_notification(1)), THEN_NS)
    await outbox.commit(
        make_commit(make_notification(2, container="db"), to=("ops", "gone")),
        NOW_NS - 90 * SECOND_NS,
    )
    await outbox.commit(IngestCommit("local", Checkpoint(THEN_NS, 0), []), NOW_NS)


def test_all_is_well(installation: Installation) -> None:
    """Shows each engine's stream and what waits for each destination; exit code 0."""
    in_store(installation.store, add_some)
    report = DaemonStatus({"edge": BUSY, **HEALTHY.engines}, version="1.2.3")
    with running_relay(installation.store, now_ns=NOW_NS, daemon_status=report):
        result = run("status")
    assert result.stderr == ""
    assert (
        result.stdout
        == f"""\
relay 1.2.3, store {installation.store}

ENGINE  STREAM  PROCESSED UP TO                      BEHIND  GAPS  RECONNECTS
edge    open    2026-11-23 07:50:52Z, 12 s ago       40      2     7
here    open    2026-11-23 06:48:34Z, 1 h 2 min ago  0       0     0

DESTINATION  WAITING  OLDEST      DEAD LETTERS  CONDITION
audit        0                    0             working
gone         1        1 min 30 s  0             {UNKNOWN}
ops          2        1 h 2 min   0             working

no incident is open
"""
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            DestinationStatus(failing=True, resumes_ns=NOW_NS + 9 * SECOND_NS),
            "failing, next probe in 9 s",
        ),
        (
            DestinationStatus(stopped=True),
            "stopped by its answer 410; to resume: relay destination enable ops",
        ),
        (
            DestinationStatus(first_failure="answered 404: no_service"),
            "has accepted nothing yet: answered 404: no_service",
        ),
        (
            DestinationStatus(failing=True, last_failure="stream RELAY is full"),
            "failing, next probe now: stream RELAY is full",
        ),
        (
            DestinationStatus(not_connected="nats1:4222: refused the login"),
            "not connected: nats1:4222: refused the login",
        ),
    ],
)
def test_a_failing_destination(
    installation: Installation, condition: DestinationStatus, words: str
) -> None:
    """Is reported, and the exit code is 1."""
    conditions = {"ops": condition, "audit": DestinationStatus()}
    with running_relay(installation.store, now_ns=NOW_NS, statuses=conditions):
        result = run("status")
    assert result.stderr == f"destination ops: {words}\n"
    assert f"ops          0                0             {words}\n" in result.stdout
    assert result.exit_code == 1


def test_dead_letters_are_counted(installation: Installation) -> None:
    """For each destination."""

    async def add_dead(outbox: Outbox) -> None:
        await outbox.commit(
            make_commit(make_notification(1), make_notification(2, container="db")), THEN_NS
        )
        for head in (await outbox.fetch_due("ops", THEN_NS, 9)).deliveries:
            await outbox.ack([Ack(head, Dead(Reason.REFUSED))], THEN_NS, flush=True)

    in_store(installation.store, add_dead)
    with running_relay(installation.store, now_ns=NOW_NS):
        result = run("status")
        document = json.loads(run("status", "--json").stdout)
    assert "audit        0                0             working\n" in result.stdout
    assert "ops          0                2             working\n" in result.stdout
    assert document["destinations"]["ops"]["dead_letters"] == 2
    assert result.exit_code == 0


def test_a_paused_destination(installation: Installation) -> None:
    """Is shown, but is not a problem."""
    with running_relay(
        installation.store,
        now_ns=NOW_NS,
        statuses={"ops": DestinationStatus(resumes_ns=NOW_NS + 60 * SECOND_NS)},
    ):
        result = run("status")
    assert "paused at its request until 2026-11-23 07:52:04Z" in result.stdout
    assert (result.stderr, result.exit_code) == ("", 0)


def test_a_closed_stream(installation: Installation) -> None:
    """Is reported, with exit code 1; an engine without a position was never connected."""
    report = DaemonStatus({"new": CLOSED, **HEALTHY.engines}, version="1.2.3")
    with running_relay(installation.store, daemon_status=report):
        result = run("status")
    assert result.stderr == "engine new: its stream is not open\n"
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("new"))
    assert row.split() == ["new", "closed", "never", "connected", "0", "0", "0"]
    assert result.exit_code == 1


def test_a_stream_of_nats(installation: Installation) -> None:
    """What waits in it is shown, who stands by, and in words what is wrong."""
    backlog = SourceBacklog(pending=1_200, unacknowledged=12, redelivered=3)
    streams = {
        "busy": StreamStatus(True, 0, 0, 0, backlog=backlog),
        "idle": StreamStatus(True, 0, 0, 0, is_standby=True, backlog=SourceBacklog(0, 0, 0)),
        "lost": StreamStatus(False, 0, 0, 0, problem="nats1:4222: Connection refused\x1b[2J"),
        "mute": StreamStatus(True, 0, 0, 0, problem="the account may not publish to $js.ack"),
    }
    engines = {name: EngineStatus(None, stream) for name, stream in streams.items()}
    with running_relay(installation.store, daemon_status=DaemonStatus(engines, version="1.2.3")):
        result = run("status")
        document = json.loads(run("status", "--json").stdout)
    assert result.stderr.splitlines() == [
        "engine lost: its stream is not open: nats1:4222: Connection refused\\x1b[2J",
        "engine mute: the account may not publish to $js.ack",
    ]
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines[3:7]] == ["open", "standby", "closed", "open"]
    assert lines[7:9] == [
        "busy: 1212 messages wait in the stream, 12 of them delivered and not committed yet, "
        "3 delivered more than once",
        "idle: nothing waits in the stream",
    ]
    assert document["engines"]["busy"]["stream"]["backlog"] == {
        "pending": 1_200,
        "unacknowledged": 12,
        "redelivered": 3,
    }
    assert document["engines"]["idle"]["stream"]["standby"] is True
    assert result.exit_code == 1


def test_a_failing_store(installation: Installation) -> None:
    """Shows why and for how long, and does not ask the store what waits."""
    since_ns = time_ns() - 3_661 * SECOND_NS
    report = DaemonStatus(HEALTHY.engines, "1.2.3", "read_only", since_ns)
    with running_relay(installation.store, daemon_status=report):
        result = run("status")
        lines = json.loads(run("status", "--json").stdout)
    assert result.stderr == "store: read only, for 1 h 1 min\n"
    assert "ops          ?        ?       ?             working" in result.stdout
    assert lines["store"]["failing"] == "read_only"
    assert lines["destinations"]["ops"]["waiting"] is None
    assert lines["destinations"]["ops"]["dead_letters"] is None
    assert result.exit_code == 1


def test_a_store_that_does_not_answer(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is shown."""

    async def refuse(*_: object) -> None:
        raise api._StoreUnresponsive("its store has not answered for 3 s")

    monkeypatch.setattr("relay.store.outbox.Outbox.backlog", refuse)
    with running_relay(installation.store):
        result = run("status")
    assert result.stderr == "store: it did not answer how many deliveries wait\n"
    assert "ops          ?        ?       ?             working" in result.stdout
    assert "here    open" in result.stdout
    assert result.exit_code == 1


def test_without_a_relay(installation: Installation) -> None:
    """Shows what the store knows, and says that no relay runs; exit code 1."""
    in_store(installation.store, add_some)
    result = run("status")
    assert result.exit_code == 1
    assert result.stderr == "no relay is running: no events are received, and nothing is sent\n"
    head, _, headings, engine, _, _, *destinations, _, last = result.stdout.splitlines()
    assert head == f"relay is not running, store {installation.store}"
    assert headings.startswith("ENGINE")
    assert engine.startswith("local   no relay is running  2026-11-23 06:48:34Z, ")
    assert [line.split("  ")[0] for line in destinations] == ["audit", "gone", "ops"]
    assert destinations[2].endswith("no relay is running")
    assert last == "no incident is open"


def test_before_the_first_start(installation: Installation) -> None:
    """Says that nothing was stored, and creates no store."""
    result = run("status")
    assert result.exit_code == 1
    assert "nothing was stored yet" in result.stderr
    assert "never connected" in result.stdout
    assert not installation.store.exists()


def test_json(installation: Installation) -> None:
    """Everything is printed on one line of JSON."""
    in_store(installation.store, add_some)
    report = DaemonStatus({"edge": BUSY, "new": CLOSED}, version="1.2.3")
    conditions = {"ops": DestinationStatus(failing=True, resumes_ns=7)}
    with running_relay(
        installation.store, now_ns=NOW_NS, statuses=conditions, daemon_status=report
    ):
        result = run("status", "--json")
    (line,) = result.stdout.splitlines()
    assert result.exit_code == 1
    assert result.stderr == ""
    nothing = {"problem": None, "standby": False, "backlog": None}
    assert json.loads(line) == {
        "well": False,
        "wrong": [
            "engine new: its stream is not open",
            "destination ops: failing, next probe now",
        ],
        "running": True,
        "version": "1.2.3",
        "time": "2026-11-23T07:51:04.000000000Z",
        "time_ns": NOW_NS,
        "store": {"path": str(installation.store), "failing": None, "failing_since": None},
        "reload_failed": None,
        "engines": {
            "edge": {
                "position": "2026-11-23T07:50:52.000000000Z",
                "position_ns": NOW_NS - 12 * SECOND_NS,
                "stream": {"open": True, "behind": 40, "gaps": 2, "reconnects": 7, **nothing},
            },
            "new": {
                "position": None,
                "position_ns": None,
                "stream": {"open": False, "behind": 0, "gaps": 0, "reconnects": 0, **nothing},
            },
        },
        "destinations": {
            "gone": {
                "configured": False,
                "waiting": 1,
                "oldest": "2026-11-23T07:49:34.000000000Z",
                "oldest_ns": NOW_NS - 90 * SECOND_NS,
                "dead_letters": 0,
                "condition": None,
            },
            "ops": {
                "configured": True,
                "waiting": 2,
                "oldest": "2026-11-23T06:48:34.000000000Z",
                "oldest_ns": THEN_NS,
                "dead_letters": 0,
                "condition": {
                    "stopped": False,
                    "failing": True,
                    "resumes_ns": 7,
                    "first_failure": None,
                    "last_failure": None,
                    "not_connected": None,
                },
            },
        },
        "incidents": {"open": {}, "first": [], "opted_out": 0},
        "silences": {"active": 0, "until": None, "until_ns": None},
    }


def test_json_without_a_relay(installation: Installation) -> None:
    """What is unknown is null."""
    in_store(installation.store, add_some)
    found = json.loads(run("status", "--json").stdout)
    assert (found["running"], found["version"], found["well"]) == (False, None, False)
    assert found["engines"]["local"] == {
        "position": "2026-11-23T06:48:34.000000000Z",
        "position_ns": THEN_NS,
        "stream": None,
    }
    assert found["destinations"]["ops"]["condition"] is None


def test_wrong_usage(installation: Installation) -> None:
    """Bad usage and a wrong configuration exit with 2, not 1."""
    assert run("status", "now").exit_code == 2
    installation.file.write_text("routes: [")
    assert getattr(run("status").exception, "exit_code", None) == 2


def test_without_a_configuration(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails, since there is nothing to ask."""
    monkeypatch.delenv("RELAY_CONFIG")
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", installation.file.parent / "none.yaml")
    assert "without a configuration file relay keeps nothing on disk" in failure(run("status"))


def test_hostile_texts_are_escaped(installation: Installation) -> None:
    """A store may hold any name of a destination."""

    async def add_one(outbox: Outbox) -> None:
        await outbox.commit(make_commit(make_notification(1), to=(HOSTILE,)), NOW_NS)

    in_store(installation.store, add_one)
    for arguments in ([], ["--json"]):
        assert all(line.isprintable() for line in run("status", *arguments).stdout.split("\n"))


@pytest.mark.parametrize(
    ("problems", "words"),
    [
        (["config.yaml:3:7: to: 'hok' is not a destination"], ""),
        (
            ["config.yaml:3:7: to: 'hok' is not a destination", "a", "b"],
            " (and 2 more, in its log)",
        ),
    ],
)
def test_a_failed_reload(installation: Installation, problems: list[str], words: str) -> None:
    """Shows the first problem, and how many more there are; the exit code is 1."""
    report = DaemonStatus(HEALTHY.engines, "1.2.3", reload_failed="\n".join(problems))
    with running_relay(installation.store, daemon_status=report):
        result = run("status")
        lines = json.loads(run("status", "--json").stdout)
    assert result.stderr == (
        f"configuration: not reloaded, the previous one stays in force: {problems[0]}{words}\n"
    )
    assert lines["reload_failed"] == "\n".join(problems)
    assert result.exit_code == 1
