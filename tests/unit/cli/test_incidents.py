"""``relay incidents``."""

import json
from time import time_ns

import msgspec
import pytest

from relay.core.incident import Resolution, UpdateReason
from relay.core.text import escape_unprintable
from relay.incidents.incident import Incident
from relay.incidents.rows import decode_rows, encode_changes
from relay.incidents.state import Changes, Rows
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import (
    HOSTILE,
    Installation,
    failure,
    in_store,
    run,
    running_relay,
)
from tests.unit.cli.incident_samples import fill
from tests.unit.incidents.events import crash_loop, die, ns, start
from tests.unit.incidents.world import World

NOW_S = 5000


def stored(installation: Installation) -> list[Incident]:
    """The incidents in the store."""

    async def load(outbox: Outbox) -> Rows:
        return decode_rows(await outbox.incident_rows())

    return sorted(in_store(installation.store, load).incidents, key=lambda each: each.name)


def make_world() -> World:
    """One container crash-loops, one came back, one has just crashed."""
    world = World()
    world.play([*crash_loop(deaths=20, name="loop"), die(4000, "back"), start(4001, "back")], NOW_S)
    return world.play(
        [*crash_loop(NOW_S, deaths=4, name="api"), die(NOW_S + 2, "web")], NOW_S + 3.5
    )


def test_list(installation: Installation) -> None:
    """A table, the most severe and latest first; those that are over only if asked for."""
    fill(installation, make_world())
    with running_relay(installation.store, now_ns=ns(NOW_S + 3.5)):
        result, everything = run("incidents"), run("incidents", "--all")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == [
        *("INCIDENT", "SEVERITY", "SINCE", "SUBJECT", "STATE", "EVENTS", "DESTINATION", "TOLD")
    ]
    assert "critical  2027-01-15 09:23:22Z  web      down" in first
    assert first.endswith("1       ops          not yet; opened in 2 s")
    assert "api      crash-looping, up  4       ops          2027-01-15 09:23:23Z" in second
    last = everything.stdout.splitlines()[-1]
    assert "back     recovered after 1 min 1 s" in last


def test_list_without_a_relay(installation: Installation) -> None:
    """Reads the store; what is due is reported when relay runs."""
    fill(installation, make_world())
    result = run("incidents")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "not yet; opened when relay runs" in result.stdout


def test_nothing_is_open(installation: Installation) -> None:
    """Says so."""
    fill(installation, World().play([die(0), start(0.1)], 100))
    result = run("incidents")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no incident is open\n")
    assert "recovered" in run("incidents", "--all").stdout


def test_list_counts_the_rest(installation: Installation) -> None:
    """Says how many more there are, and how to see them."""
    fill(installation, World().play([die(0, f"web-{number}") for number in range(5)], 10))
    with running_relay(installation.store, now_ns=ns(10)):
        result = run("incidents", "--limit", "2")
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr == "… and 3 more: --limit 5 shows them\n"


def test_more_than_a_page(installation: Installation) -> None:
    """The list is joined from pages."""
    fill(installation, World().play([die(0, f"web-{number}") for number in range(1201)], 1))
    with running_relay(installation.store, now_ns=ns(10)):
        for limit in (999, 1001, 5000):
            lines = run("incidents", "--limit", str(limit), "--json").stdout.splitlines()
            names = {json.loads(line)["subject"] for line in lines}
            assert len(names) == len(lines) == min(limit, 1201)


def test_json(installation: Installation) -> None:
    """A line for each, with the names that a payload has."""
    fill(installation, World().play([die(0), die(5)], 10))
    with running_relay(installation.store, now_ns=ns(10)):
        (line,) = run("incidents", "--json").stdout.splitlines()
    document = json.loads(line)
    assert document.pop("id").startswith("inc_")
    assert document == {
        "destination": "ops",
        "status": "firing",
        "state": "down",
        "restarting": False,
        "crash_looping": False,
        "route": "died",
        "severity": "critical",
        "subject": "web-1",
        "host": "node-1",
        "group": {"engine": "here", "project": "web-1"},
        "started_at": "2027-01-15T08:00:00.000000000Z",
        "started_ns": ns(0),
        "last_event_at": "2027-01-15T08:00:05.000000000Z",
        "last_event_ns": ns(5),
        "ended_at": None,
        "ended_ns": None,
        "resolution": None,
        "total": 2,
        "untold": 1,
        "deaths": 2,
        "told": 1,
        "told_at": "2027-01-15T08:00:03.000000000Z",
        "told_ns": ns(3),
        "update": None,
        "due_at": None,
        "due_ns": None,
        "message": None,
        "blocked": False,
        "refused": False,
        "given_up": False,
        "held": None,
        "held_until_at": None,
        "held_until_ns": None,
        "silence": None,
        "mute_interval": None,
        "unknown_since_at": None,
        "unknown_since_ns": None,
    }


def test_show(installation: Installation) -> None:
    """Everything about it, and what happened when."""
    world = World().play([die(0), start(0.1), die(5), start(6)], 100)
    world.broken.add("ops")
    world.play([die(500), die(501)], 520)
    (id_,) = fill(installation, world)
    with running_relay(installation.store, now_ns=ns(520)):
        result = run("incidents", "show", id_[:12])
        as_json = json.loads(run("incidents", "show", id_, "--json").stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    (message,) = world.waiting
    assert (
        result.stdout
        == f"""\
incident {id_}
  destination  ops
  subject      web-1
  host         node-1
  state        crash-looping, down
  severity     critical
  route        died
  group        engine here, project web-1
  since        2027-01-15 08:00:00Z, for 8 min 40 s
  events       4
  failures     4
  told         queued, not delivered yet
  message      {message.id}
  timeline
    2027-01-15 08:00:00Z  opened: web-1 crashed with exit code 3
    2027-01-15 08:00:05Z  died
    2027-01-15 08:08:20Z  died
    2027-01-15 08:08:21Z  last problem: web-1 crashed with exit code 3
    2027-01-15 08:08:23Z  told, by the 3rd message about it: not delivered yet ({message.id})
"""
    )
    assert as_json["first"]["id"] == die(0).id
    assert as_json["last"]["id"] == die(501).id
    assert len(as_json["failures"]) == 4


@pytest.mark.parametrize("command", ["show", "close"])
@pytest.mark.parametrize("is_running", [False, True])
def test_an_incident_that_is_not_there(
    installation: Installation, command: str, is_running: bool
) -> None:
    """Exit code 1, and how to see those that are."""
    fill(installation, make_world())
    if is_running:
        with running_relay(installation.store, now_ns=ns(NOW_S)):
            message = failure(run("incidents", command, "inc_00000000"))
    else:
        message = failure(run("incidents", command, "inc_00000000"))
    assert (
        message == "there is no incident inc_00000000: relay incidents --all shows those there are"
    )


@pytest.mark.parametrize("id_", ["", "inc_", "inc_12", "ntf_1234", "inc_XYZW", f"inc_{'0' * 33}"])
def test_what_is_no_id(installation: Installation, id_: str) -> None:
    """Is wrong usage, and says what an id looks like."""
    result = run("incidents", "close", id_)
    assert result.exit_code == 2
    assert "write inc_ and at least 4 of its hex digits" in result.output


def test_an_ambiguous_beginning(installation: Installation) -> None:
    """Is wrong usage: nothing is closed."""
    world = World().play([die(0, f"web-{number}") for number in range(2)], 1)
    rows = world.dispatcher.export()
    same = [
        msgspec.structs.replace(each, id=f"inc_abcd{n:028x}")
        for n, each in enumerate(rows.incidents)
    ]

    async def save(outbox: Outbox) -> None:
        await outbox.save_incident_rows(encode_changes(Changes(Rows(incidents=same))))

    in_store(installation.store, save)
    result = run("incidents", "close", "inc_abcd0000")
    assert result.exit_code == 2
    assert "several incidents begin with inc_abcd0000" in result.output
    assert all(each.is_open for each in stored(installation))


def test_close(installation: Installation) -> None:
    """The running relay resolves it, and its end is due."""
    _, web = fill(installation, World().play([die(0, "api"), die(0, "web")], 10))
    with running_relay(installation.store, now_ns=ns(20)):
        result = run("incidents", "close", web)
        again = run("incidents", "close", web)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"closed {web} (web) at ops\n"
    assert failure(again) == f"incident {web} is over already: closed"
    api_row, web_row = stored(installation)
    assert api_row.is_open
    assert (web_row.resolution, web_row.ended_ns) == (Resolution.CLOSED, ns(20))
    assert web_row.update is UpdateReason.RESOLVED


def test_close_without_a_relay(installation: Installation) -> None:
    """The store is changed, and the end is reported after the next start."""
    before_ns = time_ns()
    _, web = fill(installation, World().play([die(0, "api"), die(0, "web")], 10))
    result = run("incidents", "close", web[:10])
    assert (result.exit_code, result.stdout) == (0, f"closed {web} (web) at ops\n")
    assert result.stderr == "no relay is running: its end is told when one starts\n"
    api_row, web_row = stored(installation)
    assert api_row.is_open
    assert web_row.resolution is Resolution.CLOSED
    assert web_row.ended_ns is not None
    assert web_row.ended_ns >= min(before_ns, ns(0))
    assert failure(run("incidents", "close", web)) == f"incident {web} is over already: closed"


@pytest.mark.parametrize("option", [["--json"], ["--all"], ["--limit", "100"]])
def test_options_before_a_subcommand(installation: Installation, option: list[str]) -> None:
    """They would do nothing, so they are wrong usage."""
    result = run("incidents", *option, "show", "inc_0000")
    assert result.exit_code == 2
    assert "relay incidents show …" in result.output


def test_hostile_names(installation: Installation) -> None:
    """They cannot deceive a terminal: every line is one of relay's, and every character prints."""
    world = World().play([die(0, HOSTILE), start(0.1, HOSTILE), die(1, HOSTILE)], 2)
    (id_,) = fill(installation, world)
    with running_relay(installation.store, now_ns=ns(2)):
        outputs = [
            run("incidents").stdout,
            run("incidents", "show", id_).stdout,
            run("incidents", "--json").stdout,
            run("incidents", "show", id_, "--json").stdout,
            run("status").stdout,
            run("incidents", "close", id_).stdout,
        ]
    for output in outputs:
        for line in output.splitlines():
            assert escape_unprintable(line) == line
    assert [len(output.splitlines()) for output in outputs if output.startswith("{")] == [1, 1]
    assert len(outputs[0].splitlines()) == 2
    assert len(outputs[-1].splitlines()) == 1


def test_status(installation: Installation) -> None:
    """Has the counts and the most severe few; an open incident is nothing wrong with relay."""
    names = [f"web-{number}" for number in range(7)]
    fill(installation, World().play([die(index, name) for index, name in enumerate(names)], 10))
    with running_relay(installation.store, now_ns=ns(10)):
        result, as_json = run("status"), json.loads(run("status", "--json").stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    *_, counts, headings, first, _, _, _, _, more = result.stdout.splitlines()
    assert counts == "open incidents: ops 7 critical"
    assert headings.startswith("INCIDENT")
    assert "web-6" in first
    assert more == "… and 2 more: relay incidents shows them"
    assert as_json["well"]
    assert as_json["incidents"]["open"] == {"ops": {"critical": 7}}
    assert [each["subject"] for each in as_json["incidents"]["first"]] == names[:1:-1]


def test_status_counts_who_opted_out(installation: Installation) -> None:
    """Each container counts once, however many events it had."""
    out = {"relay.enable": "false"}
    first, again = die(0, "a", labels=out), die(3, "a", labels=out)
    events = [first, die(1, "b", labels=out), start(2, "a"), again, die(4)]
    fill(installation, World().play(events, 10))
    with running_relay(installation.store, now_ns=ns(10)):
        result, as_json = run("status"), json.loads(run("status", "--json").stdout)
    assert result.stdout.endswith("\n\n2 containers opted out by label\n")
    assert as_json["incidents"]["opted_out"] == 2
