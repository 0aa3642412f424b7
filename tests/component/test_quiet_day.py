"""The program that counts the messages of a day, with a recorded stream in place of its own."""

import json
from pathlib import Path

import pytest

from tests.streams import read_records
from tools import quiet_day
from tools.quiet_day import MIDNIGHT_NS, PROJECT, WAYS, make_day, play, report

HOUR_NS = 3600 * 10**9
STIMULI = ("loop", "stack")


def recording() -> list[bytes]:
    """The recorded stream twice, as two of the stimuli."""
    lines = []
    for project in STIMULI:
        for line in read_records("docker26"):
            event = json.loads(line)
            event["Actor"]["Attributes"][PROJECT] = project
            lines.append(json.dumps(event).encode())
    return lines


def test_each_stimulus_happens_at_its_hour() -> None:
    """What belongs to none is left out."""
    lines = [*recording(), *read_records("docker26")]
    day = [json.loads(line) for line in make_day(lines)]
    assert len(day) == 2 * len(read_records("docker26"))
    times = [event["timeNano"] for event in day]
    assert times == sorted(times)
    hours = [quiet_day.HOURS[name] for name in STIMULI]
    assert {(time_ns - MIDNIGHT_NS) // HOUR_NS for time_ns in times} == {2, 9}
    assert times[0] == MIDNIGHT_NS + round(hours[0] * HOUR_NS)


def test_three_ways() -> None:
    """Incidents are fewer than events; nobody hears of them at night in quiet hours."""
    day = make_day(recording())
    events, incidents, quiet = (play(day, way) for way in WAYS)
    assert events.count("ops") > incidents.count("ops") >= quiet.count("ops") > 0
    assert events.count("audit") == incidents.count("audit") == quiet.count("audit")
    assert quiet_day.count_nightly(incidents) > quiet_day.count_nightly(quiet) == 0
    table = report(day)
    assert f"| audit | {events.count('audit')} | {events.count('audit')} |" in table
    assert "## quiet hours\n\n- Tue 07:00:00 " in table


def test_what_is_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.jsonl"
    file.write_bytes(b"\n".join(read_records("docker26")))
    monkeypatch.setattr("sys.argv", ["quiet_day", str(file)])
    with pytest.raises(SystemExit):
        quiet_day.main()
    assert "the recording has no event of loop" in capsys.readouterr().err
