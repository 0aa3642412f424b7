"""What a case sets up before its events, and what it expects to be held back."""

from pathlib import Path

import pytest

from relay.config.origin import built_in
from relay.core.errors import ConfigError
from relay.dryrun.event_builder import START_NS
from relay.dryrun.stage import Stage, StagedSilence
from relay.dryrun.suite import load_suite
from relay.incidents.held import HeldReason
from tests.unit.dryrun.suites import CONFIG, parse_suite, write_suite

HOUR_NS = 3600 * 10**9
REST = "events: [{action: oom}], expect: []"


def stage(folder: Path, keys: str, config: str = CONFIG) -> Stage:
    file = write_suite(folder, f"tests: [{{name: it, {REST}, {keys}}}]", config)
    (case,) = load_suite(file, None, built_in, {}).cases
    assert case.is_timed
    return case.stage


def problems(folder: Path, keys: str, rest: str = REST) -> list[str]:
    """What is wrong, as ``path: message``, without its position and the way to the case."""
    with pytest.raises(ConfigError) as caught:
        parse_suite(folder, f"tests: [{{name: it, {rest}, {keys}}}]")
    return [
        f"{each.path.removeprefix('tests[0].')}: {each.message}" for each in caught.value.problems
    ]


def test_a_case_without_a_stage_is_not_timed(tmp_path: Path) -> None:
    (case,) = parse_suite(tmp_path, f"tests: [{{name: it, {REST}}}]").cases
    assert case.stage == Stage()
    assert not case.is_timed


@pytest.mark.parametrize(
    ("text", "zone", "seconds"),
    [
        ("2026-01-02 03:04", "UTC", 27 * 3600 + 240),
        ("2026-01-02 03:04", "Europe/Berlin", 26 * 3600 + 240),
        ("2026-01-02T03:04:00Z", "Europe/Berlin", 27 * 3600 + 240),
        ("22:00", "UTC", 22 * 3600),
        ("00:00", "UTC", 0),
        ("00:30", "Europe/Berlin", 23 * 3600 + 1800),
    ],
)
def test_it_begins_at_a_time_of_day(tmp_path: Path, text: str, zone: str, seconds: int) -> None:
    """In the time zone of the configuration; without a day it is the next one."""
    found = stage(tmp_path, f"wall: '{text}'", f"time_zone: {zone}\n{CONFIG}")
    assert (found.start_ns - START_NS) / 1e9 == seconds


def test_the_events_and_the_case_begin_then(tmp_path: Path) -> None:
    text = "tests: [{name: it, events: [{action: oom}, {action: oom, at: 5s}, {wait: 1h}], "
    (case,) = parse_suite(tmp_path, text + "expect: [], wall: '22:00'}]").cases
    start_ns = START_NS + 22 * HOUR_NS
    assert case.begin_ns == start_ns
    assert case.until_ns == start_ns + 5 * 10**9 + HOUR_NS
    assert str(start_ns).encode() in case.events[0].record
    assert str(start_ns + 5 * 10**9).encode() in case.events[1].record


def test_silences(tmp_path: Path) -> None:
    """One, or a list; for an hour from the beginning of the case on."""
    one = stage(tmp_path, "silence: {match: {project: shop}}")
    assert one.silences == (StagedSilence({"project": "shop"}, 0, HOUR_NS),)
    two = stage(tmp_path, "silence: [{match: {}, from: 10s}, {match: {name: 'w*'}, for: 2h}]")
    assert two.silences == (
        StagedSilence({}, 10 * 10**9, HOUR_NS),
        StagedSilence({"name": "w*"}, 0, 2 * HOUR_NS),
    )
    request = two.silences[0].to_request(5)
    assert (request.everything, request.match, request.from_ns) == (True, None, 5 + 10 * 10**9)


def test_what_is_held(tmp_path: Path) -> None:
    assert stage(tmp_path, "held: {}").held == {}
    assert stage(tmp_path, "held: {muted: 2, for: 1}").held == {"muted": 2, "for": 1}


REASONS = ", ".join(each.value for each in HeldReason)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            "wall: noon",
            ["wall: 'noon' is not a time: write 2026-11-23 08:29, 2026-11-23T07:29:49Z or 14:00"],
        ),
        ("wall: [1]", ["wall: must be a text"]),
        (
            "silence: shop",
            [
                "silence: must be a mapping, as in {match: {project: shop}, for: 1h}",
                "silence.match: must be a mapping, as in {project: shop}",
            ],
        ),
        (
            "silence: {for: 1h}",
            ["silence.match: needs 'match': what it holds back, or {} for everything"],
        ),
        (
            "silence: {match: {project: shop}, until: 1h}",
            ["silence.until: unknown key 'until' (there are: match, from, for)"],
        ),
        (
            "silence: [{match: {nmae: web}}]",
            ["silence[0].match.nmae: unknown key 'nmae' (did you mean 'name'?)"],
        ),
        (
            "silence: {match: {name: web}, for: 0s, from: x}",
            [
                "silence.from: 'x' is not a duration: write 500ms, 10s, 5m, 72h or 7d",
                "silence.for: '0s' is not between 1ms and 90d",
            ],
        ),
        (
            "silence: {match: {route: crashd}}",
            ["silence.match: route: 'crashd' is not a configured route (did you mean 'crashed'?)"],
        ),
        (
            "held: 3",
            ["held: must be a mapping of reasons to numbers, as in {muted: 2}, or {} for none"],
        ),
        (
            "held: {mutd: 1, muted: x}",
            [
                f"held.mutd: 'mutd' is not one of {REASONS} (did you mean 'muted'?)",
                "held.muted: must be a whole number, at least 0",
            ],
        ),
    ],
)
def test_what_is_wrong(tmp_path: Path, keys: str, expected: list[str]) -> None:
    found = problems(tmp_path, keys)
    assert sorted(found) == sorted(expected)


def test_a_recording_has_its_own_times(tmp_path: Path) -> None:
    (tmp_path / "it.jsonl").write_text("")
    assert problems(tmp_path, "wall: '22:00'", "recording: it.jsonl, expect: []") == [
        "wall: a recording has its own times: remove 'wall'"
    ]
