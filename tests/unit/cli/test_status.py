"""``relay status``."""

import json
from time import time_ns

import pytest

from relay.admin import api
from relay.core.checkpoint import Checkpoint
from relay.core.status import DaemonStatus, DestinationStatus, EngineStatus, StreamStatus
from relay.store.outbox import Outbox
from relay.store.records import IngestCommit
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
CLOSED = EngineStatus(None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0))
BUSY = EngineStatus(NOW_NS - 12 * SECOND_NS, StreamStatus(True, behind=40, gaps=2, reconnects=7))


async def some(outbox: Outbox) -> None:
    """Two for one destination, one for another that there is no more; an engine that was heard."""
    await outbox.commit(make_commit(make_notification(1)), THEN_NS)
    await outbox.commit(
        make_commit(make_notification(2, container="db"), to=("ops", "gone")),
        NOW_NS - 90 * SECOND_NS,
    )
    await outbox.commit(IngestCommit("local", Checkpoint(THEN_NS, 0), []), NOW_NS)


def test_all_is_well(place: Installation) -> None:
    """How each engine is heard, and what waits for each destination; exit code 0."""
    in_store(place.store, some)
    report = DaemonStatus({"edge": BUSY, **HEALTHY.engines}, version="1.2.3")
    with running_relay(place.store, now_ns=NOW_NS, report=report):
        result = run("status")
    assert result.stderr == ""
    assert (
        result.stdout
        == f"""\
relay 1.2.3, store {place.store}

ENGINE  STREAM  TAKEN IN UP TO                       BEHIND  GAPS  RECONNECTS
edge    open    2026-11-23 07:50:52Z, 12 s ago       40      2     7
here    open    2026-11-23 06:48:34Z, 1 h 2 min ago  0       0     0

DESTINATION  WAITING  OLDEST      CONDITION
audit        0                    working
gone         1        1 min 30 s  not configured: what waits becomes dead letters when relay starts
ops          2        1 h 2 min   working
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
            "stopped, it wants no more (410): relay destination enable ops",
        ),
    ],
)
def test_a_destination_in_trouble(
    place: Installation, condition: DestinationStatus, words: str
) -> None:
    """It is told apart, and the exit code is 1."""
    conditions = {"ops": condition, "audit": DestinationStatus()}
    with running_relay(place.store, now_ns=NOW_NS, conditions=conditions):
        result = run("status")
    assert result.stderr == f"destination ops: {words}\n"
    assert f"ops          0                {words}\n" in result.stdout
    assert result.exit_code == 1


def test_a_destination_that_asks_for_time(place: Installation) -> None:
    """That is nothing wrong."""
    with running_relay(
        place.store,
        now_ns=NOW_NS,
        conditions={"ops": DestinationStatus(resumes_ns=NOW_NS + 60 * SECOND_NS)},
    ):
        result = run("status")
    assert "asks to be left alone until 2026-11-23 07:52:04Z" in result.stdout
    assert (result.stderr, result.exit_code) == ("", 0)


def test_an_engine_that_is_not_heard(place: Installation) -> None:
    """It is named, with exit code 1; one that never was says so."""
    report = DaemonStatus({"new": CLOSED, **HEALTHY.engines}, version="1.2.3")
    with running_relay(place.store, report=report):
        result = run("status")
    assert result.stderr == "engine new: its stream is not open\n"
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("new"))
    assert row.split() == ["new", "closed", "never", "heard", "0", "0", "0"]
    assert result.exit_code == 1


def test_a_store_that_fails(place: Installation) -> None:
    """It is told why and for how long, and is not asked what waits."""
    since_ns = time_ns() - 3_661 * SECOND_NS
    report = DaemonStatus(HEALTHY.engines, "1.2.3", "read_only", since_ns)
    with running_relay(place.store, report=report):
        result = run("status")
        lines = json.loads(run("status", "--json").stdout)
    assert result.stderr == "store: read only, for 1 h 1 min\n"
    assert "ops          ?        ?       working" in result.stdout
    assert lines["store"]["failing"] == "read_only"
    assert lines["destinations"]["ops"]["waiting"] is None
    assert result.exit_code == 1


def test_a_store_that_says_nothing(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else is shown all the same."""

    async def refuse(*_: object) -> None:
        raise api._StoreUnresponsive("its store has not answered for 3 s")

    monkeypatch.setattr("relay.store.outbox.Outbox.backlog", refuse)
    with running_relay(place.store):
        result = run("status")
    assert result.stderr == "store: it does not say what waits\n"
    assert "ops          ?        ?       working" in result.stdout
    assert "here    open" in result.stdout
    assert result.exit_code == 1


def test_without_a_relay(place: Installation) -> None:
    """What the store knows, and that nothing runs; exit code 1."""
    in_store(place.store, some)
    result = run("status")
    assert result.exit_code == 1
    assert result.stderr == "no relay is running: nobody listens, and nothing is sent\n"
    head, _, headings, engine, _, _, *destinations = result.stdout.splitlines()
    assert head == f"relay is not running, store {place.store}"
    assert headings.startswith("ENGINE")
    assert engine.startswith("local   no relay is running  2026-11-23 06:48:34Z, ")
    assert [line.split("  ")[0] for line in destinations] == ["audit", "gone", "ops"]
    assert destinations[2].endswith("no relay is running")


def test_where_nothing_was_kept_yet(place: Installation) -> None:
    """It is said, and no store is made."""
    result = run("status")
    assert result.exit_code == 1
    assert "nothing was kept yet" in result.stderr
    assert "never heard" in result.stdout
    assert not place.store.exists()


def test_json(place: Installation) -> None:
    """Everything, in one line."""
    in_store(place.store, some)
    report = DaemonStatus({"edge": BUSY, "new": CLOSED}, version="1.2.3")
    conditions = {"ops": DestinationStatus(failing=True, resumes_ns=7)}
    with running_relay(place.store, now_ns=NOW_NS, conditions=conditions, report=report):
        result = run("status", "--json")
    (line,) = result.stdout.splitlines()
    assert result.exit_code == 1
    assert result.stderr == ""
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
        "store": {"path": str(place.store), "failing": None, "failing_since": None},
        "reload_failed": None,
        "engines": {
            "edge": {
                "position": "2026-11-23T07:50:52.000000000Z",
                "position_ns": NOW_NS - 12 * SECOND_NS,
                "stream": {"open": True, "behind": 40, "gaps": 2, "reconnects": 7},
            },
            "new": {
                "position": None,
                "position_ns": None,
                "stream": {"open": False, "behind": 0, "gaps": 0, "reconnects": 0},
            },
        },
        "destinations": {
            "gone": {
                "configured": False,
                "waiting": 1,
                "oldest": "2026-11-23T07:49:34.000000000Z",
                "oldest_ns": NOW_NS - 90 * SECOND_NS,
                "condition": None,
            },
            "ops": {
                "configured": True,
                "waiting": 2,
                "oldest": "2026-11-23T06:48:34.000000000Z",
                "oldest_ns": THEN_NS,
                "condition": {"stopped": False, "failing": True, "resumes_ns": 7},
            },
        },
    }


def test_json_without_a_relay(place: Installation) -> None:
    """What is not known is null."""
    in_store(place.store, some)
    found = json.loads(run("status", "--json").stdout)
    assert (found["running"], found["version"], found["well"]) == (False, None, False)
    assert found["engines"]["local"] == {
        "position": "2026-11-23T06:48:34.000000000Z",
        "position_ns": THEN_NS,
        "stream": None,
    }
    assert found["destinations"]["ops"]["condition"] is None


def test_wrong_usage(place: Installation) -> None:
    """It is told apart from something that is wrong with relay."""
    assert run("status", "now").exit_code == 2
    place.file.write_text("routes: [")
    assert getattr(run("status").exception, "exit_code", None) == 2


def test_without_a_configuration(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing that could be asked."""
    monkeypatch.delenv("RELAY_CONFIG")
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", place.file.parent / "none.yaml")
    assert "nothing is kept without a configuration file" in failure(run("status"))


def test_nothing_that_others_wrote_is_obeyed(place: Installation) -> None:
    """A store may hold any name."""

    async def keep_it(outbox: Outbox) -> None:
        await outbox.commit(make_commit(make_notification(1), to=(HOSTILE,)), NOW_NS)

    in_store(place.store, keep_it)
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
def test_a_reload_that_failed(place: Installation, problems: list[str], words: str) -> None:
    """The first problem is told, and how many more there are; the exit code is 1."""
    report = DaemonStatus(HEALTHY.engines, "1.2.3", reload_failed="\n".join(problems))
    with running_relay(place.store, report=report):
        result = run("status")
        lines = json.loads(run("status", "--json").stdout)
    assert result.stderr == (
        f"configuration: not reloaded, the one from before is in force: {problems[0]}{words}\n"
    )
    assert lines["reload_failed"] == "\n".join(problems)
    assert result.exit_code == 1
