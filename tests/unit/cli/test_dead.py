"""``relay dead list`` and ``relay dead show``, and how dead letters are selected."""

import asyncio
import importlib
import json
from pathlib import Path
from time import time_ns

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay.cli.dead_letter_table import format_page, format_row
from relay.core.exchange import Answer
from relay.core.incident import Status
from relay.core.text import utf16_length
from relay.core.zone import UTC_ZONE
from relay.store.outbox import Outbox
from relay.store.records import DeadLetter
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
from tests.unit.destinations.strategies import hostile, notifications
from tests.unit.store.samples import make_notification


def test_list(installation: Installation) -> None:
    """A table, the newest first."""
    in_store(installation.store, add_three)
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
        (["--destination", "gone"], [3]),
        (["--route", "crashed"], [3, 2, 1]),
        (["--route", "crashed", "99"], []),
        (["1", "2", "99"], [2, 1]),
        ([make_notification(1).id], [3, 1]),
        ([make_notification(1).id, "--destination", "gone"], [3]),
        (["--limit", "2"], [3, 2]),
    ],
)
def test_list_a_selection(
    installation: Installation, arguments: list[str], wanted: list[int]
) -> None:
    """All ids and filters must hold, whether relay runs or not."""
    in_store(installation.store, add_three)
    assert list_numbers(*arguments) == wanted
    with running_relay(installation.store):
        assert list_numbers(*arguments) == wanted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--destination", "nobody"], "no destination 'nobody'; there are: ops, audit"),
        (["--destination", ""], "no destination ''; there are: ops, audit"),
        (["--route", "other"], "no route 'other'; there are: crashed"),
        (["--route", "crashed", "--destination", "nobody"], "no destination 'nobody'"),
    ],
)
@pytest.mark.parametrize("command", [["list"], ["replay"], ["drop", "--yes"]])
def test_a_name_that_nothing_has(
    installation: Installation, command: list[str], arguments: list[str], words: str
) -> None:
    """Is wrong usage: neither the configuration nor a dead letter has it."""
    in_store(installation.store, add_three)
    result = run("dead", *command, *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert list_numbers() == [3, 2, 1]


def test_list_since(installation: Installation) -> None:
    """``--since`` counts back by the clock of the running relay, if one runs."""
    now_ns = time_ns()

    async def add_two(outbox: Outbox) -> None:
        for hours in (3, 1):
            died_ns = now_ns - hours * 3600 * SECOND_NS
            await add_dead_letter(
                outbox, make_notification(hours), created_ns=died_ns, died_ns=died_ns
            )

    in_store(installation.store, add_two)
    assert list_numbers("--since", "2h") == [2]
    assert list_numbers("--since", "7d") == [2, 1]
    with running_relay(installation.store, now_ns=now_ns + 10 * 3600 * SECOND_NS):
        assert list_numbers("--since", "2h") == []
        assert list_numbers("--since", "12h") == [2]


def test_list_counts_the_rest(installation: Installation) -> None:
    """Says how many more there are, and how to see them."""
    in_store(installation.store, add_three)
    assert run("dead", "list", "--limit", "3").stderr == ""
    assert run("dead", "list", "--limit", "1").stderr == "… and 2 more: --limit 3 shows them\n"
    assert "more" not in run("dead", "list", "--limit", "1", "--destination", "ops").stderr


def test_list_more_than_a_page(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is independent of how many are read at once."""
    monkeypatch.setattr(importlib.import_module("relay.cli.dead"), "PAGE_SIZE", 2)
    in_store(installation.store, add_three)
    assert list_numbers() == [3, 2, 1]
    assert list_numbers("--limit", "1") == [3]


def test_list_json(installation: Installation) -> None:
    """A line of JSON each, with the notification as receivers get it."""
    in_store(installation.store, add_three)
    first, *_ = run("dead", "list", "--json", "2").stdout.splitlines()
    dead_letter = json.loads(first)
    notification = dead_letter.pop("notification")
    assert dead_letter == {
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
    assert (notification["id"], notification["version"]) == (dead_letter["id"], 1)
    assert notification["events"][0]["actor"]["name"] == "db"


def test_hostile_texts_are_escaped(installation: Installation) -> None:
    """No control character is printed, and no text passes for a line of relay's."""

    async def add_one(outbox: Outbox) -> None:
        await add_dead_letter(
            outbox, hostile_notification(1), answer=Answer(500, HOSTILE, HOSTILE), to=HOSTILE
        )

    in_store(installation.store, add_one)
    for arguments in (("list",), ("show", "1"), ("list", "--json"), ("show", "1", "--json")):
        result = run("dead", *arguments)
        assert result.exit_code == 0
        lines = result.output.split("\n")
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("ID  1") for line in lines)
    (line,) = run("dead", "list", "--json").stdout.splitlines()
    assert json.loads(line)["destination"] == json.loads(line)["route"] == HOSTILE
    assert len(run("dead", "list").stdout.splitlines()) == 2


def test_show(installation: Installation) -> None:
    """A page with everything about the dead letter."""

    async def add_one(outbox: Outbox) -> None:
        sent = msgspec.structs.replace(ALL_INCLUDED, count=3, status=Status.RESOLVED)
        await add_dead_letter(outbox, sent, died_ns=THEN_NS + 259_200 * SECOND_NS)

    in_store(installation.store, add_one)
    result = run("dead", "show", "1")
    assert result.exit_code == 0
    golden = Path(__file__).parent / "golden" / "dead_letter.txt"
    assert result.output == golden.read_text(encoding="utf-8")


def test_show_by_notification(installation: Installation) -> None:
    """A notification's id shows its dead letters of all destinations."""
    in_store(installation.store, add_three)
    output = run("dead", "show", make_notification(1).id).output
    assert output.startswith("dead letter 3\n  destination   gone\n")
    assert "\n\ndead letter 1\n  destination   ops\n" in output


def test_show_json(installation: Installation) -> None:
    """The same JSON as that of ``list``."""
    in_store(installation.store, add_three)
    assert run("dead", "show", "--json", "2").stdout == run("dead", "list", "--json", "2").stdout


@pytest.mark.parametrize("id_", ["99", "ntf_0"])
def test_show_an_unknown_id(installation: Installation, id_: str) -> None:
    """Fails with a hint."""
    in_store(installation.store, add_three)
    assert failure(run("dead", "show", id_)) == (
        f"there is no dead letter {id_}: relay dead list shows those there are"
    )


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize("arguments", [[], ["--all", "1"], ["--all", "--destination", "ops"]])
def test_a_selection_is_required(
    installation: Installation, command: str, arguments: list[str]
) -> None:
    """``replay`` and ``drop`` take either ids and filters or --all."""
    in_store(installation.store, add_three)
    result = run("dead", command, *arguments)
    assert result.exit_code == 2
    assert "say which dead letters: give ids or filters, or else --all" in result.output
    assert numbers(installation.store) == [3, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["web-1"], "'web-1' is not an id: write a number or ntf_…"),
        (["-1"], "No such option"),
        (["1.5"], "is not an id"),
        (["9" * 19], "is not an id"),
        (["٣"], "is not an id"),
        (["ntf_\x1b[2J"], "'ntf_\\x1b[2J' is not an id"),
        (["--since", "2"], "'2' has no unit: write a duration as 500ms, 10s"),
        (["--since", "yesterday"], "is not a duration"),
        (["--destination", "\udcff"], "is not UTF-8"),
        (["--route", "\udcff"], "is not UTF-8"),
    ],
)
def test_wrong_usage(installation: Installation, arguments: list[str], words: str) -> None:
    """Bad values are reported before the store is opened, without control characters."""
    for command in ("list", "replay", "drop"):
        result = run("dead", command, *arguments)
        assert result.exit_code == 2
        assert words in result.output
        assert "\x1b" not in result.output
    assert not installation.store.exists()


@pytest.mark.parametrize(
    "command", [("dead", "list"), ("outbox", "list"), ("dead", "replay", "--all")]
)
def test_before_the_first_start(installation: Installation, command: tuple[str, ...]) -> None:
    """Says that nothing was stored, and creates no store."""
    before = set(installation.store.parent.iterdir())
    result = run(*command)
    assert result.exit_code == 0
    assert f"nothing was stored yet: there is no store {installation.store}" in result.stderr
    assert set(installation.store.parent.iterdir()) == before


@pytest.mark.parametrize("command", [("dead", "list"), ("outbox", "list")])
def test_without_a_configuration(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails, since relay then keeps everything in memory."""
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", tmp_path / "none.yaml")
    assert "without a configuration file relay keeps nothing on disk" in failure(run(*command))


def test_a_relay_that_cannot_be_reached(installation: Installation) -> None:
    """Says that a relay runs, and why it cannot be reached, for example without its socket."""

    async def hold(_: Outbox) -> str:
        return failure(await asyncio.to_thread(run, "dead", "list"))

    words = in_store(installation.store, hold)
    assert words.startswith(
        "a relay is running, but cannot be reached: "
        f"nobody listens at {installation.store}.sock: No such file"
    )
    assert f"store {installation.store} is in use by another relay (pid " in words


def test_a_store_that_cannot_be_used(installation: Installation) -> None:
    """Fails with the message of `relay run`."""
    installation.store.write_bytes(b"dear diary, " * 1000)
    assert failure(run("dead", "list")).startswith(f"store {installation.store} cannot be opened")


def test_a_store_that_waits_to_be_restored(installation: Installation) -> None:
    """A repaired store that was not put in place yet is used."""
    in_store(installation.store, add_three)
    for suffix in ("-wal", "-shm"):
        Path(f"{installation.store}{suffix}").unlink(missing_ok=True)
    installation.store.rename(f"{installation.store}.broken-20261123T064834Z.ready")
    with capture_logs() as lines:
        assert list_numbers() == [3, 2, 1]
    assert [line["event"] for line in lines] == ["store.restored"]


dead_letters = st.builds(
    DeadLetter,
    number=st.integers(1, 2**63 - 1),
    destination=hostile,
    notification=notifications,
    created_ns=st.integers(0, 2**62),
    died_ns=st.integers(0, 2**62),
    attempts=st.integers(0, 2**31),
    reason=hostile,
    answer=st.none()
    | st.builds(Answer, st.none() | st.integers(0, 999), hostile, st.none() | hostile),
)


@given(dead_letters)
def test_a_page(dead_letter: DeadLetter) -> None:
    """Every line is printable, and what others wrote is indented."""
    first, *lines = format_page(dead_letter, zone=UTC_ZONE)
    assert first == f"dead letter {dead_letter.number}"
    assert all(line.isprintable() for line in lines)
    assert not any(line and not line.startswith("  ") for line in lines)


@given(dead_letters)
def test_a_row(dead_letter: DeadLetter) -> None:
    """Every cell is printable and short."""
    assert all(
        cell.isprintable() and utf16_length(cell) <= 100
        for cell in format_row(dead_letter, zone=UTC_ZONE)
    )
