"""``relay outbox``."""

import json
from functools import partial

import pytest

from relay.core.exchange import Answer, Reason, Retry
from relay.core.notification import Notification
from relay.core.status import DestinationStatus
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import (
    HOSTILE,
    SECOND_NS,
    THEN_NS,
    Installation,
    hostile_notification,
    in_store,
    run,
    running_relay,
    settle,
)
from tests.unit.store.samples import make_commit, make_notification, make_update

NOW_NS = THEN_NS + 3_750 * SECOND_NS
BUSY = Answer(503, "busy", None)


async def add_retry(
    outbox: Outbox, notification: Notification, after_s: float = 60, to: str = "ops"
) -> None:
    """Add a delivery that waits for its second attempt."""
    await settle(
        outbox,
        notification,
        Retry(after_s, Reason.UNAVAILABLE),
        to=to,
        died_ns=NOW_NS - 48 * SECOND_NS,
        answer=BUSY,
    )


async def add_some(outbox: Outbox) -> None:
    """One tried, one behind it, one new, one for a destination that is not configured."""
    await add_retry(outbox, make_notification(1))
    await outbox.commit(make_commit(make_notification(2)), NOW_NS - 90 * SECOND_NS)
    await outbox.commit(
        make_commit(make_notification(3, container="db"), to=("audit", "gone")), NOW_NS
    )


def list_output(installation: Installation, *arguments: str, **statuses: DestinationStatus) -> str:
    """Return what is printed while a relay runs whose destinations have these statuses."""
    with running_relay(installation.store, now_ns=NOW_NS, statuses=statuses or None):
        result = run("outbox", "list", *arguments)
    assert result.exit_code == 0
    return result.output


def test_list(installation: Installation) -> None:
    """A table of destinations, then a table of deliveries."""
    in_store(installation.store, add_some)
    assert (
        list_output(installation)
        == """\
DESTINATION  WAITING  CONDITION
audit        1        working
gone         1        not configured: all become dead letters when relay starts
ops          2        working

AGE         DESTINATION  ROUTE    WHAT HAPPENED  ATTEMPTS  WHY               NEXT
1 h 2 min   ops          crashed  web ended      1         unavailable: 503  in 12 s
1 min 30 s  ops          crashed  web ended      0         not tried yet     after an earlier one \
about the same container
0 s         audit        crashed  db ended       0         not tried yet     now
0 s         gone         crashed  db ended       0         not tried yet     when it is configured
"""
    )


@pytest.mark.parametrize(
    ("condition", "words", "next_"),
    [
        (DestinationStatus(), "working", "in 12 s"),
        (
            DestinationStatus(stopped=True, failing=True, resumes_ns=NOW_NS + SECOND_NS),
            "stopped by its answer 410; to resume: relay destination enable ops",
            "when it is enabled",
        ),
        (
            DestinationStatus(failing=True, resumes_ns=NOW_NS + 30 * SECOND_NS),
            "failing, next probe in 30 s",
            "in 30 s",
        ),
        (DestinationStatus(failing=True, resumes_ns=NOW_NS), "failing, next probe now", "in 12 s"),
        (DestinationStatus(failing=True), "failing, next probe now", "in 12 s"),
        (
            DestinationStatus(resumes_ns=NOW_NS + 86_400 * SECOND_NS),
            "paused at its request until 2026-11-24 07:51:04Z",
            "in 1 d",
        ),
        (DestinationStatus(resumes_ns=NOW_NS), "working", "in 12 s"),
    ],
)
def test_conditions(
    installation: Installation, condition: DestinationStatus, words: str, next_: str
) -> None:
    """The condition is described; what holds up a destination holds up its deliveries."""
    in_store(installation.store, partial(add_retry, notification=make_notification(1)))
    _, state, _, _, delivery = list_output(installation, ops=condition).splitlines()
    assert state.endswith(f"  {words}")
    assert delivery.endswith(f"  {next_}")


def test_list_of_a_destination(installation: Installation) -> None:
    """Shows no other destination, and no delivery for one."""
    in_store(installation.store, add_some)
    output = list_output(installation, "--destination", "audit")
    assert "ops" not in output
    assert "gone" not in output
    assert "db ended" in output


def test_a_destination_that_does_not_exist(installation: Installation) -> None:
    """Is wrong usage, whether relay runs or not; one that was removed can still be listed."""
    in_store(installation.store, add_some)
    result = run("outbox", "list", "--destination", "nope")
    assert result.exit_code == 2
    assert "no destination 'nope'; there are: audit, gone, ops" in result.output
    with running_relay(installation.store, now_ns=NOW_NS):
        assert run("outbox", "list", "--destination", "nope").exit_code == 2
    assert "gone" in list_output(installation, "--destination", "gone")


def test_nothing_waits(installation: Installation) -> None:
    """Shows the destinations, and says that nothing waits."""
    assert (
        list_output(installation, ops=DestinationStatus())
        == """\
DESTINATION  WAITING  CONDITION
ops          0        working
nothing waits
"""
    )


def test_counts_the_rest(installation: Installation) -> None:
    """Says how many more there are, of one destination or of all."""
    in_store(installation.store, add_some)
    assert list_output(installation, "--limit", "1").endswith("… and 3 more\n")
    assert list_output(installation, "--limit", "1", "--destination", "ops").endswith(
        "… and 1 more\n"
    )
    assert "more\n" not in list_output(installation, "--limit", "4")


@pytest.mark.parametrize("limit", ["0", "501", "many"])
def test_wrong_usage(installation: Installation, limit: str) -> None:
    """The limit is between 1 and 500."""
    assert run("outbox", "list", "--limit", limit).exit_code == 2


def test_without_a_relay(installation: Installation) -> None:
    """Shows what waits, and says that nothing is sent."""
    in_store(installation.store, add_some)
    result = run("outbox", "list")
    assert result.exit_code == 0
    assert result.stderr == "no relay is running: nothing is sent\n"
    states = result.stdout.splitlines()[1:4]
    assert states == [
        "audit        1        no relay is running",
        "gone         1        not configured: all become dead letters when relay starts",
        "ops          2        no relay is running",
    ]
    assert "unavailable: 503" in result.stdout
    assert result.stdout.count("when relay runs") == 2


def test_json(installation: Installation) -> None:
    """A line of JSON for each delivery, with its destination's condition."""
    in_store(installation.store, add_some)
    paused = DestinationStatus(resumes_ns=NOW_NS + SECOND_NS)
    lines = list_output(installation, "--json", ops=paused, audit=DestinationStatus()).splitlines()
    first, second, _, last = map(json.loads, lines)
    notification = first.pop("notification")
    assert first == {
        "number": 1,
        "destination": "ops",
        "route": "crashed",
        "id": make_notification(1).id,
        "created": "2026-11-23T06:48:34.000000000Z",
        "created_ns": THEN_NS,
        "due": "2026-11-23T07:51:16.000000000Z",
        "due_ns": NOW_NS + 12 * SECOND_NS,
        "attempts": 1,
        "reason": "unavailable",
        "answer": {"status": 503, "text": "busy", "error": None},
        "condition": {
            "stopped": False,
            "failing": False,
            "resumes_ns": NOW_NS + SECOND_NS,
            "first_failure": None,
            "last_failure": None,
            "not_connected": None,
        },
    }
    assert (notification["id"], notification["version"]) == (make_notification(1).id, 1)
    assert second["due"] is second["due_ns"] is second["reason"] is second["answer"] is None
    assert (last["destination"], last["condition"]) == ("gone", None)


def test_hostile_texts_are_escaped(installation: Installation) -> None:
    """No control character is printed, and no text passes for a line of relay's."""

    async def add_them(outbox: Outbox) -> None:
        answer = Answer(None, HOSTILE, HOSTILE)
        retry = Retry(1, Reason.CONNECTION)
        await settle(outbox, hostile_notification(1), retry, to=HOSTILE, answer=answer)
        await outbox.commit(make_commit(hostile_notification(2), to=(HOSTILE,)), NOW_NS)

    in_store(installation.store, add_them)
    for arguments in ([], ["--json"]):
        lines = list_output(installation, *arguments).split("\n")
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("ID  1") for line in lines)
    assert json.loads(list_output(installation, "--json").splitlines()[0])["destination"] == HOSTILE


def test_messages_about_incidents(installation: Installation) -> None:
    """Only one of a group is due; a later one waits for it."""

    async def add_two(outbox: Outbox) -> None:
        await outbox.commit(make_commit(make_update(1), make_update(2)), NOW_NS)

    in_store(installation.store, add_two)
    *_, first, second = list_output(installation).splitlines()
    assert first.endswith("not tried yet  now")
    assert second.endswith("not tried yet  after an earlier one about the same group")
