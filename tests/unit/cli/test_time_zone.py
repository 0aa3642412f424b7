"""Commands show times in the zone of the running relay, else in that of the configuration."""

import json
from pathlib import Path

import pytest

from relay.core.exchange import Dead, Reason
from relay.core.status import DestinationStatus
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import (
    SECOND_NS,
    THEN_NS,
    Installation,
    in_store,
    run,
    running_relay,
    settle,
)
from tests.unit.cli.incident_samples import fill
from tests.unit.incidents.events import crash_loop, ns
from tests.unit.incidents.world import World
from tests.unit.store.samples import make_notification

BERLIN = "Europe/Berlin"
RECORD = (
    '{"Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"3"}},'
    '"timeNano":%d}'
)


async def add_dead_letter(outbox: Outbox) -> None:
    """One that was given up a minute after it was made."""
    await settle(outbox, make_notification(1), Dead(Reason.REJECTED))


def set_zone(installation: Installation, name: str) -> None:
    """Write another zone into the configuration."""
    text = installation.file.read_text()
    installation.file.write_text(f"time_zone: {name}\n{text}")


def test_dead_letters(installation: Installation) -> None:
    """Without a relay it is the zone of the configuration."""
    in_store(installation.store, add_dead_letter)
    assert "2026-11-23 06:49:34Z" in run("dead", "list").output
    set_zone(installation, BERLIN)
    assert "2026-11-23 07:49:34 CET" in run("dead", "list").output
    page = run("dead", "show", "1").output
    assert "created       2026-11-23 07:48:34 CET" in page
    assert "Z" not in page.split("attributes")[0]
    document = json.loads(run("dead", "list", "--json").output)
    assert document["died"] == "2026-11-23T06:49:34.000000000Z"


def test_since_is_in_the_zone(installation: Installation) -> None:
    """It is that of the running relay, whatever is in the file."""
    in_store(installation.store, add_dead_letter)
    set_zone(installation, "Asia/Tokyo")
    now_ns = THEN_NS + 3600 * SECOND_NS
    with running_relay(installation.store, now_ns=now_ns, time_zone=BERLIN):
        assert "CET" in run("dead", "list", "--since", "07:49").output
        assert "CET" in run("dead", "list", "--since", "2026-11-23 07:49:34 CET").output
        assert run("dead", "list", "--since", "07:50").stderr == "no dead letters\n"
        skipped = run("dead", "list", "--since", "2026-03-29 02:30")
    assert skipped.exit_code == 2
    assert "--since '2026-03-29 02:30' is skipped by the clocks of Europe/Berlin" in skipped.output


def test_status_and_incidents(installation: Installation) -> None:
    """Tables, pages and conditions have the zone of the running relay."""
    fill(installation, World().play([*crash_loop(deaths=8)], 20))
    paused = {"ops": DestinationStatus(resumes_ns=ns(80))}
    with running_relay(installation.store, now_ns=ns(20), statuses=paused, time_zone=BERLIN):
        status, incidents = run("status").output, run("incidents").output
        outbox = run("outbox", "list").output
        id_ = incidents.splitlines()[1].split()[0]
        page = run("incidents", "show", id_).output
        document = json.loads(run("status", "--json").output)
    assert "2026-11-23 07:48:34 CET, " in status
    assert "paused at its request until 2027-01-15 09:01:20 CET" in status
    assert "paused at its request until 2027-01-15 09:01:20 CET" in outbox
    assert "2027-01-15 09:00:00 CET" in status
    assert "2027-01-15 09:00:00 CET" in incidents
    assert "since        2027-01-15 09:00:00 CET, for 20 s" in page
    assert "Z" not in f"{status}{incidents}{page}".replace("REZ", "")
    assert document["time"] == "2027-01-15T08:00:20.000000000Z"


def test_explain(installation: Installation) -> None:
    """What the running relay knows is in its zone."""
    installation.file.write_text(
        "store: {path: relay.db}\nengines: {here: {}}\n"
        "destinations: {ops: {type: slack, url: 'https://hooks.slack.com/services/T/B/x'}}\n"
        "routes: [{name: died, match: {action: die}, to: ops}]\n"
    )
    fill(installation, World().play([*crash_loop(deaths=8)], 20))
    command = ("explain", "--action", "die", "--attribute", "exitCode=3", "--name", "web-1")
    with running_relay(installation.store, now_ns=ns(20), time_zone=BERLIN):
        shown = run(*command, "--now").output
    assert "since 2027-01-15 09:00:00 CET; told: 2027-01-15 09:00:03 CET" in shown


def test_replay(installation: Installation, tmp_path: Path) -> None:
    """The clock of the events is shown in the zone of the configuration; JSON stays in UTC."""
    set_zone(installation, BERLIN)
    events = tmp_path / "events"
    events.write_text(RECORD % THEN_NS)
    assert "2026-11-23 07:48:34 CET" in run("replay", str(events)).output
    line, *_ = run("replay", "--json", str(events)).stdout.splitlines()
    assert json.loads(line)["at"] == "2026-11-23T06:48:34.000000000Z"


@pytest.mark.parametrize(("name", "shown"), [("UTC", "UTC"), (BERLIN, BERLIN)])
def test_check(installation: Installation, name: str, shown: str) -> None:
    """It prints the zone, also the default."""
    if name != "UTC":
        set_zone(installation, name)
    assert f"time zone {shown}\n" in run("check").output


@pytest.mark.parametrize("written", ["Europe/Berlni", "${NOWHERE}"])
def test_a_zone_that_is_none(installation: Installation, written: str) -> None:
    """The commands that need not read the whole configuration say so, and use UTC."""
    in_store(installation.store, add_dead_letter)
    set_zone(installation, written)
    result = run("dead", "list")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"time_zone: '{written}' is not a time zone: ")
    assert result.stderr.endswith(". Times are in UTC\n")
    assert "2026-11-23 06:49:34Z" in result.stdout
