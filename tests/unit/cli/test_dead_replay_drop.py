"""``relay dead replay`` and ``relay dead drop``."""

import importlib
from contextlib import nullcontext

import click
import pytest

from relay.incidents.rows import encode_changes
from relay.incidents.state import Changes
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import THEN_NS, Installation, failure, in_store, run, running_relay
from tests.unit.cli.dead_letter_samples import add_dead_letter, add_three, numbers, waiting
from tests.unit.incidents.events import die, start
from tests.unit.incidents.world import World
from tests.unit.store.samples import make_notification


def test_replay(installation: Installation) -> None:
    """Dead letters become waiting deliveries with the same ids."""
    in_store(installation.store, add_three)
    result = run("dead", "replay", "1", "2")
    assert result.exit_code == 0
    assert result.stdout == "replayed 2 dead letters\n"
    assert result.stderr == "no relay is running: they are sent when one starts\n"
    assert numbers(installation.store) == [3]
    assert [each.notification for each in waiting(installation.store)] == [
        make_notification(1),
        make_notification(2, container="db"),
    ]


def test_replay_by_a_running_relay(installation: Installation) -> None:
    """The running relay queues them."""
    in_store(installation.store, add_three)
    with running_relay(installation.store):
        result = run("dead", "replay", "--destination", "ops")
    assert (result.stdout, result.stderr) == ("replayed 1 dead letter\n", "")
    assert [each.created_ns for each in waiting(installation.store)] == [THEN_NS]


def test_replay_in_the_order_of_the_destination(installation: Installation) -> None:
    """The destination's ``ordering`` holds without a running relay, too."""

    async def add_two(outbox: Outbox) -> None:
        for number in (1, 2):
            await add_dead_letter(outbox, make_notification(number), to="audit")
            await add_dead_letter(outbox, make_notification(number), to="ops")

    in_store(installation.store, add_two)
    run("dead", "replay", "--all")
    due = [(each.destination, each.due_ns is not None) for each in waiting(installation.store)]
    assert due == [("audit", True), ("ops", True), ("audit", True), ("ops", False)]


@pytest.mark.parametrize("running", [True, False])
def test_replay_all(installation: Installation, running: bool) -> None:
    """Says which are left because their destination is no longer configured."""
    in_store(installation.store, add_three)
    if running:
        with running_relay(installation.store):
            result = run("dead", "replay", "--all")
    else:
        result = run("dead", "replay", "--all")
    assert result.exit_code == 0
    assert result.stdout == "replayed 2 dead letters\n"
    assert "1 dead letter for gone stays: no such destination is configured" in result.stderr
    assert numbers(installation.store) == [3]


def test_replay_nothing(installation: Installation) -> None:
    """Filters may select nothing; an unknown id is a failure."""
    in_store(installation.store, add_three)
    result = run("dead", "replay", "--since", "1m")
    assert (result.exit_code, result.output) == (0, "replayed no dead letters\n")
    assert "none has one of these ids and passes the filters" in failure(
        run("dead", "replay", "99")
    )
    assert numbers(installation.store) == [3, 2, 1]


def test_drop(installation: Installation) -> None:
    """The selected ones are gone."""
    in_store(installation.store, add_three)
    result = run("dead", "drop", "--yes", "1", "3")
    assert (result.exit_code, result.output) == (0, "dropped 2 dead letters\n")
    assert numbers(installation.store) == [2]
    assert waiting(installation.store) == []
    assert run("dead", "drop", "--yes", "--all").output == "dropped 1 dead letter\n"
    assert "none has one of these ids and passes the filters" in failure(
        run("dead", "drop", "--yes", "1")
    )


def test_drop_without_a_terminal(installation: Installation) -> None:
    """Requires --yes."""
    in_store(installation.store, add_three)
    result = run("dead", "drop", "--all", stdin="y\n")
    assert result.exit_code == 2
    assert "this cannot be undone, and there is no terminal to ask: give --yes" in result.output
    assert numbers(installation.store) == [3, 2, 1]


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there is a terminal."""
    module = importlib.import_module("relay.cli.dead")
    monkeypatch.setattr(module, "_is_interactive", lambda: True)


@pytest.mark.usefixtures("interactive")
def test_drop_asks(installation: Installation) -> None:
    """Asks with the number for each destination; a no drops nothing."""
    in_store(installation.store, add_three)
    result = run("dead", "drop", "--all", stdin="n\n")
    assert result.exit_code == 1
    question = "Drop 3 dead letters (gone 1, audit 1, ops 1)? This cannot be undone [y/N]"
    assert question in result.output
    assert numbers(installation.store) == [3, 2, 1]
    result = run("dead", "drop", "--destination", "ops", stdin="y\n")
    assert "Drop 1 dead letter (ops 1)? This cannot be undone" in result.output
    assert result.output.endswith("dropped 1 dead letter\n")
    assert numbers(installation.store) == [3, 2]


@pytest.mark.usefixtures("interactive")
def test_drop_does_not_ask_about_nothing(installation: Installation) -> None:
    """Does not ask if nothing is selected."""
    in_store(installation.store, add_three)
    assert run("dead", "drop", "--since", "1m").output == "dropped no dead letters\n"


@pytest.mark.usefixtures("interactive")
@pytest.mark.parametrize("at_once", [1, 500])
def test_drop_only_what_was_confirmed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """What is given up before the answer stays. Meanwhile the store is closed."""
    in_store(installation.store, add_three)
    monkeypatch.setattr(importlib.import_module("relay.cli.dead"), "PAGE_SIZE", at_once)

    def say_yes(*_: object, **__: object) -> bool:
        async def add_one(outbox: Outbox) -> None:
            await add_dead_letter(outbox, make_notification(9))

        in_store(installation.store, add_one)
        return True

    monkeypatch.setattr(click, "confirm", say_yes)
    assert run("dead", "drop", "--all").output == "dropped 3 dead letters\n"
    assert numbers(installation.store) == [4]


def bury_message(installation: Installation, *, moves_on: bool) -> World:
    """A message about an incident was refused; the incident may have been reported again since."""
    world = World()
    world.broken.add("ops")
    world.play([die(0)], 10)
    (message,) = world.waiting
    world.give_up(message, refused=True)
    world.broken.clear()
    if moves_on:
        world.play([start(20)], 200)

    async def fill(outbox: Outbox) -> None:
        rows = encode_changes(Changes(world.dispatcher.export()))
        await outbox.save_incident_rows(rows)
        await add_dead_letter(outbox, message.to_notification())

    in_store(installation.store, fill)
    return world


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.parametrize("arguments", [["--all"], ["1"], ["--route", "died"]])
def test_replay_what_has_moved_on(
    installation: Installation, arguments: list[str], is_running: bool
) -> None:
    """It stays, and the command says why; it fails if it was asked for by its id."""
    world = bury_message(installation, moves_on=True)
    relay = running_relay(installation.store, now_ns=world.now.steady_ns)
    with relay if is_running else nullcontext():
        result = run("dead", "replay", *arguments)
    assert (
        "1 dead letter stays: it tells of incidents that have changed since, and would be taken "
        "for news. relay dead show ID shows them, relay dead drop ID removes them\n"
    ) in result.stderr
    if arguments == ["1"]:
        assert failure(result) == "replayed no dead letters"
    else:
        assert result.exit_code == 0
        assert result.stdout == "replayed no dead letters\n"
    assert numbers(installation.store) == [1]


def test_replay_what_has_not(installation: Installation) -> None:
    """It is a delivery again."""
    bury_message(installation, moves_on=False)
    result = run("dead", "replay", "--all")
    assert result.stdout == "replayed 1 dead letter\n"
    assert "changed since" not in result.stderr
    assert numbers(installation.store) == []


def test_show_a_message_about_incidents(installation: Installation) -> None:
    """It says of each incident what the message says."""
    world = bury_message(installation, moves_on=True)
    (incident,) = world.dispatcher.list_incidents()
    lines = run("dead", "show", "1").stdout.splitlines()
    assert "  reason        opened" in lines
    where = lines.index("  incidents")
    assert lines[where + 1] == f"    {incident.id}  web-1 crashed with exit code 3 and is down"
