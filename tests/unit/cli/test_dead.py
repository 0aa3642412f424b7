"""``relay dead``."""

import asyncio
import importlib
import json
from pathlib import Path
from time import time_ns
from typing import Any

import click
import msgspec
import pytest
from structlog.testing import capture_logs

from relay.exchange import Answer, Dead, Reason
from relay.notification import Notification, Status
from relay.store.outbox import DeadLetter, Outbox, Selection, Waiting
from tests.unit.formats.samples import TOLD
from tests.unit.store.samples import told

from .kept import (
    SECOND_NS,
    THEN_NS,
    WORDS,
    Place,
    failure,
    hostile,
    keep,
    relay_that_runs,
    run,
    settle,
)

REFUSED = Answer(400, "no such\x1b[2J channel\nID  1", None)
UNREACHED = Answer(None, "", "Connection refused")


async def bury(
    outbox: Outbox,
    notification: Notification,
    reason: Reason = Reason.REFUSED,
    answer: Answer | None = REFUSED,
    **how: Any,
) -> None:
    await settle(outbox, notification, Dead(reason), answer=answer, **how)


async def three(outbox: Outbox) -> None:
    """One refused, one that came to be too old, one for a destination that there is no more."""
    await bury(outbox, told(1))
    await bury(outbox, told(2, about="db"), Reason.EXPIRED, UNREACHED, to="audit")
    await bury(outbox, told(1), answer=None, to="gone", died_ns=THEN_NS + 7200 * SECOND_NS)


def letters(store: Path) -> list[DeadLetter]:
    async def ask(outbox: Outbox) -> list[DeadLetter]:
        return await outbox.dead_letters(Selection(), 1000)

    return keep(store, ask)


def numbers(store: Path) -> list[int]:
    return [letter.number for letter in letters(store)]


def waiting(store: Path) -> list[Waiting]:
    async def ask(outbox: Outbox) -> list[Waiting]:
        return await outbox.waiting(None, 1000)

    return keep(store, ask)


def listed(*arguments: str) -> list[int]:
    """The numbers of the letters that are shown."""
    result = run("dead", "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["number"] for line in result.stdout.splitlines()]


def test_list(place: Place) -> None:
    """The newest first: number, time, destination, route, what happened, why, attempts."""
    keep(place.store, three)
    result = run("dead", "list")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert (
        result.stdout
        == """\
ID  DIED                  DESTINATION  ROUTE    WHAT HAPPENED  WHY                          ATTEMPTS
3   2026-11-23 08:48:34Z  gone         crashed  web ended      refused                      1
2   2026-11-23 06:49:34Z  audit        crashed  db ended       expired: Connection refused  1
1   2026-11-23 06:49:34Z  ops          crashed  web ended      refused: 400                 1
"""
    )


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], [3, 2, 1]),
        (["--destination", "ops"], [1]),
        (["--destination", "nobody"], []),
        (["--destination", ""], []),
        (["--route", "crashed"], [3, 2, 1]),
        (["--route", "other"], []),
        (["1", "2", "99"], [2, 1]),
        ([told(1).id], [3, 1]),
        ([told(1).id, "--destination", "gone"], [3]),
        (["--limit", "2"], [3, 2]),
    ],
)
def test_list_those_that_are_meant(place: Place, arguments: list[str], wanted: list[int]) -> None:
    """By ids and filters, all of which have to hold, whether relay runs or not."""
    keep(place.store, three)
    assert listed(*arguments) == wanted
    with relay_that_runs(place.store):
        assert listed(*arguments) == wanted


def test_list_since(place: Place) -> None:
    """By the clock of who is asked: the relay's, if it runs."""
    now_ns = time_ns()

    async def bury_two(outbox: Outbox) -> None:
        for hours in (3, 1):
            died_ns = now_ns - hours * 3600 * SECOND_NS
            await bury(outbox, told(hours), made_ns=died_ns, died_ns=died_ns)

    keep(place.store, bury_two)
    assert listed("--since", "2h") == [2]
    assert listed("--since", "7d") == [2, 1]
    with relay_that_runs(place.store, now_ns=now_ns + 10 * 3600 * SECOND_NS):
        assert listed("--since", "2h") == []
        assert listed("--since", "12h") == [2]


def test_list_says_how_many_more(place: Place) -> None:
    """And how to see them."""
    keep(place.store, three)
    assert run("dead", "list", "--limit", "3").stderr == ""
    assert run("dead", "list", "--limit", "1").stderr == "… and 2 more: --limit 3 shows them\n"
    assert "more" not in run("dead", "list", "--limit", "1", "--destination", "ops").stderr


def test_list_goes_on_behind_a_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are read at once."""
    monkeypatch.setattr(importlib.import_module("relay.cli.dead"), "AT_ONCE", 2)
    keep(place.store, three)
    assert listed() == [3, 2, 1]
    assert listed("--limit", "1") == [3]


def test_list_json(place: Place) -> None:
    """Everything, a line for each; the notification as receivers get it."""
    keep(place.store, three)
    first, *_ = run("dead", "list", "--json", "2").stdout.splitlines()
    letter = json.loads(first)
    notification = letter.pop("notification")
    assert letter == {
        "number": 2,
        "destination": "audit",
        "route": "crashed",
        "id": told(2, about="db").id,
        "created": "2026-11-23T06:48:34.000000000Z",
        "created_ns": THEN_NS,
        "died": "2026-11-23T06:49:34.000000000Z",
        "died_ns": THEN_NS + 60 * SECOND_NS,
        "attempts": 1,
        "reason": "expired",
        "answer": {"status": None, "text": "", "error": "Connection refused"},
    }
    assert (notification["id"], notification["version"]) == (letter["id"], 1)
    assert notification["events"][0]["actor"]["name"] == "db"


def test_nothing_that_others_wrote_is_obeyed(place: Place) -> None:
    """No terminal gets a control character, and no line passes for one of relay's."""

    async def bury_it(outbox: Outbox) -> None:
        await bury(outbox, hostile(1), answer=Answer(500, WORDS, WORDS), to=WORDS)

    keep(place.store, bury_it)
    for arguments in (("list",), ("show", "1"), ("list", "--json"), ("show", "1", "--json")):
        result = run("dead", *arguments)
        assert result.exit_code == 0
        lines = result.output.split("\n")
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("ID  1") for line in lines)
    (line,) = run("dead", "list", "--json").stdout.splitlines()
    assert json.loads(line)["destination"] == json.loads(line)["route"] == WORDS
    assert len(run("dead", "list").stdout.splitlines()) == 2


def test_show(place: Place) -> None:
    """All of it, in words."""

    async def bury_it(outbox: Outbox) -> None:
        sent = msgspec.structs.replace(TOLD, count=3, status=Status.RESOLVED)
        await bury(outbox, sent, died_ns=THEN_NS + 259_200 * SECOND_NS)

    keep(place.store, bury_it)
    result = run("dead", "show", "1")
    assert result.exit_code == 0
    golden = Path(__file__).parent / "golden" / "letter.txt"
    assert result.output == golden.read_text(encoding="utf-8")


def test_show_those_of_a_notification(place: Place) -> None:
    """It may have been given up at several destinations."""
    keep(place.store, three)
    output = run("dead", "show", told(1).id).output
    assert output.startswith("dead letter 3\n  destination   gone\n")
    assert "\n\ndead letter 1\n  destination   ops\n" in output


def test_show_json(place: Place) -> None:
    """As `list` has it."""
    keep(place.store, three)
    assert run("dead", "show", "--json", "2").stdout == run("dead", "list", "--json", "2").stdout


@pytest.mark.parametrize("id_", ["99", "ntf_0"])
def test_show_one_that_is_not_there(place: Place, id_: str) -> None:
    """It fails, and says so."""
    keep(place.store, three)
    assert failure(run("dead", "show", id_)) == f"there is no dead letter {id_}"


def test_replay(place: Place) -> None:
    """They wait, under the same id, and no relay sends them yet."""
    keep(place.store, three)
    result = run("dead", "replay", "1", "2")
    assert result.exit_code == 0
    assert result.stdout == "replayed 2 dead letters\n"
    assert result.stderr == "no relay is running: they are sent when it is\n"
    assert numbers(place.store) == [3]
    assert [each.notification for each in waiting(place.store)] == [told(1), told(2, about="db")]


def test_replay_by_a_relay_that_runs(place: Place) -> None:
    """It sends them at once."""
    keep(place.store, three)
    with relay_that_runs(place.store):
        result = run("dead", "replay", "--destination", "ops")
    assert (result.stdout, result.stderr) == ("replayed 1 dead letter\n", "")
    assert [each.created_ns for each in waiting(place.store)] == [THEN_NS]


def test_replay_in_the_order_of_the_destination(place: Place) -> None:
    """Where the configuration has ``ordering: none``, it is none without a relay, too."""

    async def bury_two(outbox: Outbox) -> None:
        for number in (1, 2):
            await bury(outbox, told(number), to="audit")
            await bury(outbox, told(number), to="ops")

    keep(place.store, bury_two)
    run("dead", "replay", "--all")
    due = [(each.destination, each.due_ns is not None) for each in waiting(place.store)]
    assert due == [("audit", True), ("ops", True), ("audit", True), ("ops", False)]


@pytest.mark.parametrize("running", [True, False])
def test_replay_all(place: Place, running: bool) -> None:
    """But for those whose destination is configured no more: that is said."""
    keep(place.store, three)
    if running:
        with relay_that_runs(place.store):
            result = run("dead", "replay", "--all")
    else:
        result = run("dead", "replay", "--all")
    assert result.exit_code == 0
    assert result.stdout == "replayed 2 dead letters\n"
    assert "1 dead letter for gone stay: it is configured no more" in result.stderr
    assert numbers(place.store) == [3]


def test_replay_nothing(place: Place) -> None:
    """Filters may find none; an id that is not there is a failure."""
    keep(place.store, three)
    result = run("dead", "replay", "--route", "other")
    assert (result.exit_code, result.output) == (0, "replayed no dead letters\n")
    assert "none there is meant" in failure(run("dead", "replay", "99"))
    assert numbers(place.store) == [3, 2, 1]


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize("arguments", [[], ["--all", "1"], ["--all", "--destination", "ops"]])
def test_says_which(place: Place, command: str, arguments: list[str]) -> None:
    """Nothing is done to letters that nobody named, nor where it is said in two ways."""
    keep(place.store, three)
    result = run("dead", command, *arguments)
    assert result.exit_code == 2
    assert "say which: ids or filters, or else --all" in result.output
    assert numbers(place.store) == [3, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["web-1"], "'web-1' is no id: write a number or ntf_…"),
        (["-1"], "No such option"),
        (["1.5"], "is no id"),
        (["9" * 19], "is no id"),
        (["٣"], "is no id"),
        (["ntf_\x1b[2J"], "'ntf_\\x1b[2J' is no id"),
        (["--since", "2"], "'2' has no unit: write a duration as 500ms, 10s"),
        (["--since", "yesterday"], "is not a duration"),
        (["--destination", "\udcff"], "is not UTF-8"),
        (["--route", "\udcff"], "is not UTF-8"),
    ],
)
def test_wrong_usage(place: Place, arguments: list[str], words: str) -> None:
    """It is told in words, before anything is asked."""
    for command in ("list", "replay", "drop"):
        result = run("dead", command, *arguments)
        assert result.exit_code == 2
        assert words in result.output
        assert "\x1b" not in result.output
    assert not place.store.exists()


def test_drop(place: Place) -> None:
    """They are gone."""
    keep(place.store, three)
    result = run("dead", "drop", "--yes", "1", "3")
    assert (result.exit_code, result.output) == (0, "forgot 2 dead letters\n")
    assert numbers(place.store) == [2]
    assert waiting(place.store) == []
    assert run("dead", "drop", "--yes", "--all").output == "forgot 1 dead letter\n"
    assert "none there is meant" in failure(run("dead", "drop", "--yes", "1"))


def test_drop_where_nobody_can_be_asked(place: Place) -> None:
    """A script has to say that it means it."""
    keep(place.store, three)
    result = run("dead", "drop", "--all", stdin="y\n")
    assert result.exit_code == 2
    assert "this cannot be undone, and nobody can be asked: give --yes" in result.output
    assert numbers(place.store) == [3, 2, 1]


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal, as it seems."""
    module = importlib.import_module("relay.cli.dead")
    monkeypatch.setattr(module, "_somebody_is_there", lambda: True)


@pytest.mark.usefixtures("somebody")
def test_drop_asks(place: Place) -> None:
    """How many, and of which destinations; a no leaves all as it is."""
    keep(place.store, three)
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
def test_drop_does_not_ask_about_nothing(place: Place) -> None:
    """There is nothing to say yes to."""
    keep(place.store, three)
    assert run("dead", "drop", "--route", "other").output == "forgot no dead letters\n"


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("at_once", [1, 500])
def test_drop_takes_only_what_was_asked_about(
    place: Place, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """What dies before the answer stays. Meanwhile the store is free, for a relay to start."""
    keep(place.store, three)
    monkeypatch.setattr(importlib.import_module("relay.cli.dead"), "AT_ONCE", at_once)

    def say_yes(*_: object, **__: object) -> bool:
        async def bury_one(outbox: Outbox) -> None:
            await bury(outbox, told(9))

        keep(place.store, bury_one)
        return True

    monkeypatch.setattr(click, "confirm", say_yes)
    assert run("dead", "drop", "--all").output == "forgot 3 dead letters\n"
    assert numbers(place.store) == [4]


@pytest.mark.parametrize(
    "command", [("dead", "list"), ("outbox", "list"), ("dead", "replay", "--all")]
)
def test_before_the_first_start(place: Place, command: tuple[str, ...]) -> None:
    """Nothing was kept; and no store is made by asking for one."""
    before = set(place.store.parent.iterdir())
    result = run(*command)
    assert result.exit_code == 0
    assert f"nothing was kept yet: there is no store {place.store}" in result.stderr
    assert set(place.store.parent.iterdir()) == before


@pytest.mark.parametrize("command", [("dead", "list"), ("outbox", "list")])
def test_without_a_configuration(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What such a relay knew is nowhere."""
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    configuration = importlib.import_module("relay.cli.configuration")
    monkeypatch.setattr(configuration, "DEFAULT_FILE", tmp_path / "none.yaml")
    assert "nothing is kept without a configuration file" in failure(run(*command))


def test_a_relay_that_cannot_be_asked(place: Place) -> None:
    """Its socket was removed, say: both is told, that it runs and why it is of no use."""

    async def hold(_: Outbox) -> str:
        return failure(await asyncio.to_thread(run, "dead", "list"))

    words = keep(place.store, hold)
    assert words.startswith(
        f"a relay runs that cannot be asked: nobody listens at {place.store}.sock: No such file"
    )
    assert f"store {place.store} is in use by another relay (pid " in words


def test_a_store_that_cannot_be_used(place: Place) -> None:
    """It is told as `relay run` tells it."""
    place.store.write_bytes(b"dear diary, " * 1000)
    assert failure(run("dead", "list")).startswith(f"store {place.store} cannot be opened")


def test_a_store_that_waits_to_be_put_back(place: Place) -> None:
    """A relay that was killed meanwhile has left it under another name."""
    keep(place.store, three)
    for suffix in ("-wal", "-shm"):
        Path(f"{place.store}{suffix}").unlink(missing_ok=True)
    place.store.rename(f"{place.store}.broken-20261123T064834Z.ready")
    with capture_logs() as lines:
        assert listed() == [3, 2, 1]
    assert [line["event"] for line in lines] == ["store.restored"]
