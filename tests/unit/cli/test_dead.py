"""``relay dead``."""

import asyncio
import importlib
import json
from pathlib import Path
from time import time_ns

import msgspec
import pytest
from structlog.testing import capture_logs

from relay.core.exchange import Answer
from relay.core.notification import Status
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import (
    HOSTILE,
    SECOND_NS,
    THEN_NS,
    Installation,
    failure,
    hostile_notification,
    in_store,
    run,
    running_relay,
)
from tests.unit.cli.dead_letter_samples import add_dead_letter, add_three, list_numbers, numbers
from tests.unit.destinations.samples import ALL_INCLUDED
from tests.unit.store.samples import make_notification


def test_list(place: Installation) -> None:
    """The newest first: number, time, destination, route, what happened, why, attempts."""
    in_store(place.store, add_three)
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
        ([make_notification(1).id], [3, 1]),
        ([make_notification(1).id, "--destination", "gone"], [3]),
        (["--limit", "2"], [3, 2]),
    ],
)
def test_list_those_that_are_meant(
    place: Installation, arguments: list[str], wanted: list[int]
) -> None:
    """By ids and filters, all of which have to hold, whether relay runs or not."""
    in_store(place.store, add_three)
    assert list_numbers(*arguments) == wanted
    with running_relay(place.store):
        assert list_numbers(*arguments) == wanted


def test_list_since(place: Installation) -> None:
    """By the clock of who is asked: the relay's, if it runs."""
    now_ns = time_ns()

    async def bury_two(outbox: Outbox) -> None:
        for hours in (3, 1):
            died_ns = now_ns - hours * 3600 * SECOND_NS
            await add_dead_letter(
                outbox, make_notification(hours), made_ns=died_ns, died_ns=died_ns
            )

    in_store(place.store, bury_two)
    assert list_numbers("--since", "2h") == [2]
    assert list_numbers("--since", "7d") == [2, 1]
    with running_relay(place.store, now_ns=now_ns + 10 * 3600 * SECOND_NS):
        assert list_numbers("--since", "2h") == []
        assert list_numbers("--since", "12h") == [2]


def test_list_says_how_many_more(place: Installation) -> None:
    """And how to see them."""
    in_store(place.store, add_three)
    assert run("dead", "list", "--limit", "3").stderr == ""
    assert run("dead", "list", "--limit", "1").stderr == "… and 2 more: --limit 3 shows them\n"
    assert "more" not in run("dead", "list", "--limit", "1", "--destination", "ops").stderr


def test_list_goes_on_behind_a_page(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are read at once."""
    monkeypatch.setattr(importlib.import_module("relay.cli.dead"), "PAGE_SIZE", 2)
    in_store(place.store, add_three)
    assert list_numbers() == [3, 2, 1]
    assert list_numbers("--limit", "1") == [3]


def test_list_json(place: Installation) -> None:
    """Everything, a line for each; the notification as receivers get it."""
    in_store(place.store, add_three)
    first, *_ = run("dead", "list", "--json", "2").stdout.splitlines()
    letter = json.loads(first)
    notification = letter.pop("notification")
    assert letter == {
        "number": 2,
        "destination": "audit",
        "route": "crashed",
        "id": make_notification(2, container="db").id,
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


def test_nothing_that_others_wrote_is_obeyed(place: Installation) -> None:
    """No terminal gets a control character, and no line passes for one of relay's."""

    async def bury_it(outbox: Outbox) -> None:
        await add_dead_letter(
            outbox, hostile_notification(1), answer=Answer(500, HOSTILE, HOSTILE), to=HOSTILE
        )

    in_store(place.store, bury_it)
    for arguments in (("list",), ("show", "1"), ("list", "--json"), ("show", "1", "--json")):
        result = run("dead", *arguments)
        assert result.exit_code == 0
        lines = result.output.split("\n")
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("ID  1") for line in lines)
    (line,) = run("dead", "list", "--json").stdout.splitlines()
    assert json.loads(line)["destination"] == json.loads(line)["route"] == HOSTILE
    assert len(run("dead", "list").stdout.splitlines()) == 2


def test_show(place: Installation) -> None:
    """All of it, in words."""

    async def bury_it(outbox: Outbox) -> None:
        sent = msgspec.structs.replace(ALL_INCLUDED, count=3, status=Status.RESOLVED)
        await add_dead_letter(outbox, sent, died_ns=THEN_NS + 259_200 * SECOND_NS)

    in_store(place.store, bury_it)
    result = run("dead", "show", "1")
    assert result.exit_code == 0
    golden = Path(__file__).parent / "golden" / "letter.txt"
    assert result.output == golden.read_text(encoding="utf-8")


def test_show_those_of_a_notification(place: Installation) -> None:
    """It may have been given up at several destinations."""
    in_store(place.store, add_three)
    output = run("dead", "show", make_notification(1).id).output
    assert output.startswith("dead letter 3\n  destination   gone\n")
    assert "\n\ndead letter 1\n  destination   ops\n" in output


def test_show_json(place: Installation) -> None:
    """As `list` has it."""
    in_store(place.store, add_three)
    assert run("dead", "show", "--json", "2").stdout == run("dead", "list", "--json", "2").stdout


@pytest.mark.parametrize("id_", ["99", "ntf_0"])
def test_show_one_that_is_not_there(place: Installation, id_: str) -> None:
    """It fails, and says so."""
    in_store(place.store, add_three)
    assert failure(run("dead", "show", id_)) == f"there is no dead letter {id_}"


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize("arguments", [[], ["--all", "1"], ["--all", "--destination", "ops"]])
def test_says_which(place: Installation, command: str, arguments: list[str]) -> None:
    """Nothing is done to letters that nobody named, nor where it is said in two ways."""
    in_store(place.store, add_three)
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
def test_wrong_usage(place: Installation, arguments: list[str], words: str) -> None:
    """It is told in words, before anything is asked."""
    for command in ("list", "replay", "drop"):
        result = run("dead", command, *arguments)
        assert result.exit_code == 2
        assert words in result.output
        assert "\x1b" not in result.output
    assert not place.store.exists()


@pytest.mark.parametrize(
    "command", [("dead", "list"), ("outbox", "list"), ("dead", "replay", "--all")]
)
def test_before_the_first_start(place: Installation, command: tuple[str, ...]) -> None:
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
    configuration = importlib.import_module("relay.cli.options")
    monkeypatch.setattr(configuration, "DEFAULT_FILE", tmp_path / "none.yaml")
    assert "nothing is kept without a configuration file" in failure(run(*command))


def test_a_relay_that_cannot_be_asked(place: Installation) -> None:
    """Its socket was removed, say: both is told, that it runs and why it is of no use."""

    async def hold(_: Outbox) -> str:
        return failure(await asyncio.to_thread(run, "dead", "list"))

    words = in_store(place.store, hold)
    assert words.startswith(
        f"a relay runs that cannot be asked: nobody listens at {place.store}.sock: No such file"
    )
    assert f"store {place.store} is in use by another relay (pid " in words


def test_a_store_that_cannot_be_used(place: Installation) -> None:
    """It is told as `relay run` tells it."""
    place.store.write_bytes(b"dear diary, " * 1000)
    assert failure(run("dead", "list")).startswith(f"store {place.store} cannot be opened")


def test_a_store_that_waits_to_be_put_back(place: Installation) -> None:
    """A relay that was killed meanwhile has left it under another name."""
    in_store(place.store, add_three)
    for suffix in ("-wal", "-shm"):
        Path(f"{place.store}{suffix}").unlink(missing_ok=True)
    place.store.rename(f"{place.store}.broken-20261123T064834Z.ready")
    with capture_logs() as lines:
        assert list_numbers() == [3, 2, 1]
    assert [line["event"] for line in lines] == ["store.restored"]
