"""``relay silence``: add, list and expire."""

import json
import re
from time import time_ns
from typing import Any

import click
import msgspec
import pytest

from relay.admin.operation import OperationError, Refused
from relay.cli.silence_match import describe_match
from relay.cli.silence_table import describe_silence, format_row
from relay.core.zone import TimeZone
from relay.incidents.rows import decode_rows, encode_changes
from relay.incidents.silence import Silence
from relay.incidents.silence_view import SilenceState, SilenceView
from relay.incidents.state import Changes, Rows
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import HOSTILE, Installation, failure, in_store, run, running_relay
from tests.unit.cli.incident_samples import fill
from tests.unit.incidents.events import die, ns
from tests.unit.incidents.world import World

HOUR_NS = 3600 * 10**9
BY = ("--by", "ann")
ADD = ("silence", "add", "--comment", "deploy", *BY)


@pytest.fixture(autouse=True)
def _store(installation: Installation) -> None:
    """A store in which nothing is open."""
    fill(installation, World())


def stored(installation: Installation) -> list[Silence]:
    """The silences in the store."""

    async def load(outbox: Outbox) -> Rows:
        return decode_rows(await outbox.incident_rows())

    return in_store(installation.store, load).silences


def save(installation: Installation, *silences: Silence) -> None:
    """Put silences into the store."""
    changes = encode_changes(Changes(Rows(silences=list(silences))))

    async def write(outbox: Outbox) -> None:
        await outbox.save_incident_rows(changes)

    in_store(installation.store, write)


def silence(id_: int, **fields: Any) -> Silence:
    now_ns = time_ns()
    made = Silence(id_, now_ns, now_ns + HOUR_NS, "deploy", "ann", now_ns, {"project": "shop"})
    return msgspec.structs.replace(made, **fields)


def usage_error(*arguments: str) -> str:
    """The message of a command that is used wrongly."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def test_add_to_a_running_relay(installation: Installation) -> None:
    """It says until when, and what fits it."""
    now_ns = time_ns()
    with running_relay(installation.store, now_ns=now_ns):
        result = run(*ADD, "--for", "2h", "project=shop")
        shown = json.loads(run("silence", "list", "--json").stdout)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("silence 1 until ")
    assert result.stdout.endswith(": project=shop (deploy, ann)\n")
    expected = "no incident that is open fits it: it holds back what is to come\n"
    assert result.stderr == expected
    assert (shown["id"], shown["match"], shown["by"]) == (1, {"project": "shop"}, "ann")
    assert shown["until_ns"] == now_ns + 2 * HOUR_NS
    (kept,) = stored(installation)
    assert (kept.until_ns, kept.made_ns) == (now_ns + 2 * HOUR_NS, now_ns)


def test_add_warns_of_a_condition_that_no_event_fulfils(installation: Installation) -> None:
    """As `relay check` does with routes; an engine may send what relay does not know."""
    result = run(*ADD, "action=dye", "health=ill")
    assert result.exit_code == 0
    assert "warning: action: 'dye' is not an action that relay knows" in result.stderr
    assert "warning: health: 'ill' is not a state of health that relay knows" in result.stderr
    assert "warning: action: 'die' never matches: only containers" in (
        run(*ADD, "type=volume", "action=die").stderr
    )
    assert "warning" not in run(*ADD, "name=web").stderr


def test_add_without_a_relay(installation: Installation) -> None:
    """It is in the store, and counts when relay runs."""
    result = run(*ADD, "route=crashed", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["match"] == {"route": "crashed"}
    assert result.stderr.endswith("no relay is running: it counts when one starts\n")
    assert [each.match for each in stored(installation)] == [{"route": "crashed"}]


def test_add_without_a_store(installation: Installation) -> None:
    """Nothing could keep it."""
    for file in installation.store.parent.glob(f"{installation.store.name}*"):
        file.unlink()
    result = run(*ADD, "project=shop")
    assert "there is no store" in failure(result)
    assert "start relay first" in failure(result)


def test_add_for_an_incident(installation: Installation) -> None:
    """The first digits of its id are enough."""
    (id_,) = fill(installation, World().play([die(0)], 1))
    result = run(*ADD, id_[:10])
    assert result.exit_code == 0, result.output
    assert [each.incident for each in stored(installation)] == [id_]
    assert "it holds back 1 incident, 1 event now" in result.stderr
    assert "there is no incident inc_ffff" in failure(run(*ADD, "inc_ffff"))


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["project=shop"], {"project": "shop"}),
        (["name=web-*", "engine=local"], {"name": "web-*", "engine": "local"}),
        (["name=a", "name=b"], {"name": ["a", "b"]}),
        (["label.tier=batch", "label.a.b=c=d"], {"label": {"tier": "batch", "a.b": "c=d"}}),
        (["exit_code=>=128"], {"exit_code": ">=128"}),
        (
            ["--match", "{project: shop, name: {not: db}}"],
            {"project": "shop", "name": {"not": "db"}},
        ),
        (["--match", '{"any": [{"name": "a"}]}'], {"any": [{"name": "a"}]}),
    ],
)
def test_the_match(installation: Installation, words: list[str], match: dict[str, Any]) -> None:
    assert run(*ADD, *words).exit_code == 0
    (kept,) = stored(installation)
    assert kept.match == match


def test_everything_has_to_be_meant(installation: Installation) -> None:
    assert "--all if everything is meant" in usage_error(*ADD)
    assert "--all if everything is meant" in usage_error(*ADD, "engine=*")
    result = run(*ADD, "--all")
    assert ": everything (deploy, ann)" in result.stdout
    (kept,) = stored(installation)
    assert kept.match == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop"], "'shop' is not a condition: write field=pattern, as in project=shop"),
        (["=shop"], "'=shop' is not a condition"),
        (["project="], "'project=' has no pattern: write one, as in project=shop"),
        (["name!=db"], "to exclude something, write --match '{name: {not: db}}'"),
        (["projct=shop"], "unknown key 'projct' (did you mean 'project'?)"),
        (["label=batch"], "label: must be a mapping of names to patterns"),
        (["inc_xyz"], "'inc_xyz' is not the id of an incident"),
        (["inc_abcd", "project=shop"], "'inc_abcd' is not a condition"),
        (["--match", "{name: a}", "name=b"], "both --match and conditions"),
        (["--match", "{name: [}"], "--match:1:"),
        (["--match", "shop"], "--match"),
        (["--match", "{name: a, name: b}"], "--match:1:11: name"),
        (["--match", "{}"], "--all if everything is meant"),
        (["--match", "name: " + "[" * 1000], "--match"),
        (["--all", "name=a"], "both --all and a match"),
        (["name=a", "--for", "1h", "--until", "14:00"], "both --for and --until"),
        (["name=a", "--for", "soon"], "'soon' is not a duration"),
        (["name=a", "--until", "25:00"], "'25:00' is not a valid time"),
        (["name=a", "--comment", "x" * 65_536], "--comment is longer than 1,000 characters"),
        (["name=a", "--by", ""], "--by is empty"),
        (["name=\udcff"], "the match is not UTF-8"),
        (["name=a", "--comment", "\udcff"], "--comment is not UTF-8"),
    ],
)
def test_what_is_written_wrongly(
    installation: Installation, arguments: list[str], message: str
) -> None:
    assert message in usage_error(*ADD, *arguments)
    assert stored(installation) == []


def test_a_comment_is_required() -> None:
    assert "Missing option '--comment'" in usage_error("silence", "add", "project=shop")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--until", "2026-11-23T07:00:00Z"], "its end is in the past"),
        (["--from", "2026-11-23 07:00"], "its beginning is in the past"),
        (["--from", "2h", "--until", "2026-11-23T07:00:00Z"], "its end is in the past"),
        (["--for", "91d"], "it is longer than 90 days"),
        (["--for", "0s"], "its end is not after its beginning"),
    ],
)
def test_times_that_cannot_be(
    installation: Installation, arguments: list[str], message: str
) -> None:
    assert message in usage_error(*ADD, "name=a", *arguments)
    assert stored(installation) == []


def test_an_engine_or_route_that_is_not_configured(installation: Installation) -> None:
    message = usage_error(*ADD, "engine=locl")
    assert "engine: 'locl' is not a configured engine (did you mean 'local'?)" in message
    message = usage_error(*ADD, "route=crash")
    assert "route: 'crash' is not a configured route (did you mean 'crashed'?)" in message
    assert stored(installation) == []


def test_too_many(installation: Installation) -> None:
    save(installation, *(silence(each) for each in range(1, 1001)))
    message = "there are 1000 silences already, none of them over"
    result = run(*ADD, "name=a")
    assert isinstance(result.exception, OperationError)
    assert not isinstance(result.exception, Refused)
    assert message in str(result.exception)
    with running_relay(installation.store, now_ns=time_ns()):
        assert message in str(run(*ADD, "name=a").exception)


def test_who_it_is_by(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before sudo, if it was used; else who runs the command."""
    add = ("silence", "add", "--comment", "c", "name=a")
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("SUDO_USER", "bob")
    run(*add)
    monkeypatch.delenv("SUDO_USER")
    run(*add)
    monkeypatch.delenv("USER")
    run(*add)
    *known, last = (each.by for each in stored(installation))
    assert known == ["bob", "root"]
    assert last


def test_from_and_until_follow_each_other(installation: Installation) -> None:
    """An end without a day is the next one after the beginning; a duration is one from now."""
    run(*ADD, "name=a", "--from", "2h", "--until", "3h")
    (kept,) = stored(installation)
    assert kept.until_ns - kept.from_ns == 3 * HOUR_NS
    assert abs(kept.from_ns - time_ns() - 2 * HOUR_NS) < HOUR_NS
    result = run("silence", "list")
    assert "pending" in result.stdout


def test_list(installation: Installation) -> None:
    """What is over is listed only if it is asked for."""
    fill(installation, World().play([die(0, project="shop")], 1))
    save(
        installation,
        silence(3, held_incidents=1, held_events=1),
        silence(4, match={"name": "web-*"}, until_ns=time_ns() - 1, held_events=2),
    )
    result, everything = run("silence", "list"), run("silence", "list", "--all")
    heading, row = result.stdout.splitlines()
    assert heading.split("  ")[0] == "SILENCE"
    assert "1 incident, 1 event  1 incident, 1 event  ann  deploy" in row
    assert row.startswith("3        active")
    last = everything.stdout.splitlines()[-1]
    assert last.startswith("4        over ")
    assert "name=web-*" in last
    assert "2 events" in last
    documents = [json.loads(it) for it in run("silence", "list", "--json").stdout.splitlines()]
    (document,) = documents
    assert document["holding"] == document["held"] == {"incidents": 1, "events": 1}
    assert (document["matching"], document["expired_at"]) == (1, None)


def test_no_silences() -> None:
    result = run("silence", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no silence is in force or to come\n"


def test_expire(installation: Installation) -> None:
    """What it holds back is reported now."""
    fill(installation, World().play([die(0, project="shop")], 1))
    save(installation, silence(1), silence(2, match={"name": "b"}))
    result = run("silence", "expire", "1", "2", "1")
    assert result.exit_code == 0, result.output
    held = "it held back 1 incident, 1 event: what is still open is told when relay runs"
    # the second one would end the first one's hold, but nothing fits it
    assert result.stdout.splitlines() == [f"ended silence 1; {held}", "ended silence 2"]
    assert all(each.expired_ns is not None for each in stored(installation))


def test_expire_all_or_none(installation: Installation) -> None:
    save(installation, silence(1), silence(2, expired_ns=time_ns()))
    assert failure(run("silence", "expire", "1", "2")) == "silence 2 is over already"
    message = failure(run("silence", "expire", "1", "3"))
    assert message == "there is no silence 3: relay silence list --all shows those there are"
    assert [each.expired_ns is None for each in stored(installation)] == [True, False]
    assert "Invalid value for 'ID...'" in usage_error("silence", "expire", "x")


def test_status_says_how_many_there_are(installation: Installation) -> None:
    """And until when the last one is in force."""
    save(installation, silence(1))
    assert re.search(r"^1 silence, until .*\d\d:\d\d UTC$", run("status").stdout, re.MULTILINE)
    save(installation, silence(2, until_ns=ns(0)), silence(3, from_ns=ns(0), until_ns=ns(9)))
    result = run("status")
    assert result.stdout.endswith("2 silences, the last until 2027-01-15 08:00 UTC\n")
    found = json.loads(run("status", "--json").stdout)["silences"]
    assert found == {"active": 2, "until": "2027-01-15T08:00:00.000000000Z", "until_ns": ns(0)}


def test_hostile_texts_do_not_reach_the_terminal(installation: Installation) -> None:
    comment = HOSTILE.replace("\x00", "")
    name = comment.replace("[", "")
    with running_relay(installation.store, now_ns=time_ns()):
        added = run("silence", "add", "--comment", comment, "--by", comment, f"name={name}")
        assert added.exit_code == 0, added.output
        for arguments in (("silence", "list"), ("silence", "list", "--json")):
            output = run(*arguments).stdout
            assert output.replace("\n", "").isprintable()
            assert len(output.splitlines()) == (1 if "--json" in arguments else 2)
    assert added.stdout.rstrip("\n").isprintable()
    (kept,) = stored(installation)
    assert kept.comment == comment


VIEW = SilenceView(
    *msgspec.structs.astuple(Silence(3, 0, 12 * HOUR_NS, "deploy", "ann", 0, {"project": "shop"})),
    state=SilenceState.ACTIVE,
    matching=0,
    holding_incidents=0,
    holding_events=0,
)


def test_times_are_in_the_time_zone() -> None:
    zone = TimeZone("Europe/Berlin")
    row = format_row(VIEW, zone, HOUR_NS)
    assert row[:4] == ("3", "active", "01:00 CET", "13:00 CET")
    text = describe_silence(VIEW, zone, HOUR_NS)
    assert text == "silence 3 until 13:00 CET: project=shop (deploy, ann)"
    later = msgspec.structs.replace(VIEW, from_ns=11 * HOUR_NS)
    text = describe_silence(later, zone, -24 * HOUR_NS)
    assert text.startswith("silence 3 from 1970-01-01 12:00 CET until 1970-01-01 13:00 CET: ")


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ({}, "everything"),
        ({"name": ["a", "b c"]}, "name=a 'name=b c'"),
        ({"label": {"tier": "batch"}}, "label.tier=batch"),
        ({"exit_code": 137, "interactive": True}, "exit_code=137 interactive=true"),
        ({"name": {"not": "db"}}, """--match '{"name":{"not":"db"}}'"""),
        ({"label": {"a": ""}}, """--match '{"label":{"a":""}}'"""),
        ({"any": [{"name": "a"}]}, """--match '{"any":[{"name":"a"}]}'"""),
        ({"label": {"a": {"regex": "x"}}}, """--match '{"label":{"a":{"regex":"x"}}}'"""),
    ],
)
def test_a_match_is_shown_as_it_can_be_written(match: dict[str, Any], text: str) -> None:
    assert describe_match(silence(1, match=match)) == text


def test_the_group_needs_a_command() -> None:
    assert isinstance(run("silence").exception, click.exceptions.Exit | SystemExit)
