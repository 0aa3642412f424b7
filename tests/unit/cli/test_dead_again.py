"""``relay dead replay`` and ``relay dead drop``."""

import importlib

import click
import pytest

from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import THEN_NS, Installation, failure, in_store, run, running_relay
from tests.unit.cli.dead_letter_samples import add_dead_letter, add_three, numbers, waiting
from tests.unit.store.samples import make_notification


def test_replay(place: Installation) -> None:
    """They wait, under the same id, and no relay sends them yet."""
    in_store(place.store, add_three)
    result = run("dead", "replay", "1", "2")
    assert result.exit_code == 0
    assert result.stdout == "replayed 2 dead letters\n"
    assert result.stderr == "no relay is running: they are sent when it is\n"
    assert numbers(place.store) == [3]
    assert [each.notification for each in waiting(place.store)] == [
        make_notification(1),
        make_notification(2, container="db"),
    ]


def test_replay_by_a_relay_that_runs(place: Installation) -> None:
    """It sends them at once."""
    in_store(place.store, add_three)
    with running_relay(place.store):
        result = run("dead", "replay", "--destination", "ops")
    assert (result.stdout, result.stderr) == ("replayed 1 dead letter\n", "")
    assert [each.created_ns for each in waiting(place.store)] == [THEN_NS]


def test_replay_in_the_order_of_the_destination(place: Installation) -> None:
    """Where the configuration has ``ordering: none``, it is none without a relay, too."""

    async def bury_two(outbox: Outbox) -> None:
        for number in (1, 2):
            await add_dead_letter(outbox, make_notification(number), to="audit")
            await add_dead_letter(outbox, make_notification(number), to="ops")

    in_store(place.store, bury_two)
    run("dead", "replay", "--all")
    due = [(each.destination, each.due_ns is not None) for each in waiting(place.store)]
    assert due == [("audit", True), ("ops", True), ("audit", True), ("ops", False)]


@pytest.mark.parametrize("running", [True, False])
def test_replay_all(place: Installation, running: bool) -> None:
    """But for those whose destination is configured no more: that is said."""
    in_store(place.store, add_three)
    if running:
        with running_relay(place.store):
            result = run("dead", "replay", "--all")
    else:
        result = run("dead", "replay", "--all")
    assert result.exit_code == 0
    assert result.stdout == "replayed 2 dead letters\n"
    assert "1 dead letter for gone stay: it is configured no more" in result.stderr
    assert numbers(place.store) == [3]


def test_replay_nothing(place: Installation) -> None:
    """Filters may find none; an id that is not there is a failure."""
    in_store(place.store, add_three)
    result = run("dead", "replay", "--route", "other")
    assert (result.exit_code, result.output) == (0, "replayed no dead letters\n")
    assert "none there is meant" in failure(run("dead", "replay", "99"))
    assert numbers(place.store) == [3, 2, 1]


def test_drop(place: Installation) -> None:
    """They are gone."""
    in_store(place.store, add_three)
    result = run("dead", "drop", "--yes", "1", "3")
    assert (result.exit_code, result.output) == (0, "forgot 2 dead letters\n")
    assert numbers(place.store) == [2]
    assert waiting(place.store) == []
    assert run("dead", "drop", "--yes", "--all").output == "forgot 1 dead letter\n"
    assert "none there is meant" in failure(run("dead", "drop", "--yes", "1"))


def test_drop_where_nobody_can_be_asked(place: Installation) -> None:
    """A script has to say that it means it."""
    in_store(place.store, add_three)
    result = run("dead", "drop", "--all", stdin="y\n")
    assert result.exit_code == 2
    assert "this cannot be undone, and nobody can be asked: give --yes" in result.output
    assert numbers(place.store) == [3, 2, 1]


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal, as it seems."""
    module = importlib.import_module("relay.cli.dead")
    monkeypatch.setattr(module, "_is_interactive", lambda: True)


@pytest.mark.usefixtures("somebody")
def test_drop_asks(place: Installation) -> None:
    """How many, and of which destinations; a no leaves all as it is."""
    in_store(place.store, add_three)
    result = run("dead", "drop", "--all", stdin="n\n")
    assert result.exit_code == 1
    question = "Forget 3 dead letters (gone 1, audit 1, ops 1) for ever? [y/N]"
    assert question in result.output
    assert numbers(place.store) == [3, 2, 1]
    result = run("dead", "drop", "--destination", "ops", stdin="y\n")
    assert "Forget 1 dead letter (ops 1) for ever?" in result.output
    assert result.output.endswith("forgot 1 dead letter\n")
    assert numbers(place.store) == [3, 2]


@pytest.mark.usefixtures("somebody")
def test_drop_does_not_ask_about_nothing(place: Installation) -> None:
    """There is nothing to say yes to."""
    in_store(place.store, add_three)
    assert run("dead", "drop", "--route", "other").output == "forgot no dead letters\n"


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("at_once", [1, 500])
def test_drop_takes_only_what_was_asked_about(
    place: Installation, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """What dies before the answer stays. Meanwhile the store is free, for a relay to start."""
    in_store(place.store, add_three)
    monkeypatch.setattr(importlib.import_module("relay.cli.dead"), "PAGE_SIZE", at_once)

    def say_yes(*_: object, **__: object) -> bool:
        async def bury_one(outbox: Outbox) -> None:
            await add_dead_letter(outbox, make_notification(9))

        in_store(place.store, bury_one)
        return True

    monkeypatch.setattr(click, "confirm", say_yes)
    assert run("dead", "drop", "--all").output == "forgot 3 dead letters\n"
    assert numbers(place.store) == [4]
