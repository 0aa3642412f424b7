"""Parsing files of tests."""

import json
from pathlib import Path

import pytest

from relay.config.origin import built_in, of_file
from relay.core.errors import ConfigError
from relay.destinations.catalog import default_config
from relay.dryrun.event_builder import START_NS
from relay.dryrun.simulator import InputEvent
from relay.dryrun.suite import load_suite
from tests.streams import read_records
from tests.unit.dryrun.suites import CONFIG, parse_suite, write_suite

CASE = "{name: it, events: [{action: oom}], expect: []}"


def problems(folder: Path, tests: str) -> list[str]:
    """Every problem in these tests, without the folder."""
    with pytest.raises(ConfigError) as caught:
        parse_suite(folder, tests)
    return [str(each).replace(f"{folder}/", "") for each in caught.value.problems]


def input_events(folder: Path, *events: str) -> list[InputEvent]:
    """The events of one case, parsed."""
    listed = "".join(f"\n      - {event}" for event in events)
    (case,) = parse_suite(
        folder, f"tests:\n  - name: it\n    expect: []\n    events:{listed}\n"
    ).cases
    return list(case.events)


def records(folder: Path, *events: str) -> list[dict[str, object]]:
    return [json.loads(each.record) for each in input_events(folder, *events)]


def test_the_short_form(tmp_path: Path) -> None:
    """Becomes the record that an engine would send, in which attributes are texts."""
    (record,) = records(
        tmp_path,
        "{action: die, id: c0, name: web, image: 'bb:1', label: {tier: 1}, attribute: {x: true},"
        " exit_code: 3}",
    )
    assert record == {
        "Type": "container",
        "Action": "die",
        "Actor": {
            "ID": "c0",
            "Attributes": {
                "tier": "1",
                "x": "true",
                "exitCode": "3",
                "name": "web",
                "image": "bb:1",
            },
        },
        "scope": "local",
        "timeNano": START_NS,
    }


def test_events_follow_each_other(tmp_path: Path) -> None:
    """Events are a second apart, unless ``at`` sets the time since the case began."""
    found = records(
        tmp_path, "{action: oom}", "{action: oom}", "{action: oom, at: 5m}", "{action: oom}"
    )
    assert [(int(str(each["timeNano"])) - START_NS) / 1e9 for each in found] == [0, 1, 300, 301]


def test_a_wait_lets_time_pass(tmp_path: Path) -> None:
    """The next event happens at its end; a case lasts until the end of the last wait."""
    events = ("{action: oom}", "{wait: 1h}", "{wait: 5m}", "{action: oom}", "{wait: 25h}")
    found = records(tmp_path, *events)
    assert [(int(str(each["timeNano"])) - START_NS) / 1e9 for each in found] == [0, 3900]
    listed = ", ".join(events)
    tests = f"tests: [{{name: it, events: [{listed}], expect: []}}]"
    (case,) = parse_suite(tmp_path, tests).cases
    assert case.until_ns == START_NS + (3900 + 25 * 3600) * 10**9
    assert case.is_timed


def test_when_a_case_begins(tmp_path: Path) -> None:
    """A recording and a pasted event have a time; else it is the same day for every case."""
    record = read_records("docker26")[5].decode()
    (tmp_path / "recorded.jsonl").write_text(record)
    tests = f"""
tests:
  - {{name: short, events: [{{action: oom, at: 5m}}], expect: []}}
  - {{name: pasted, events: ['{record}'], expect: []}}
  - {{name: recorded, recording: recorded.jsonl, expect: []}}
"""
    began = [case.begin_ns for case in parse_suite(tmp_path, tests).cases]
    assert began == [START_NS, *2 * [json.loads(record)["timeNano"]]]


def test_one_name_is_one_container(tmp_path: Path) -> None:
    """Without an id, the same name gives the same id; a volume's id is its name."""
    one, same, other, volume = (
        each["Actor"]["ID"]  # type: ignore[index]
        for each in records(
            tmp_path,
            "{action: kill, name: a}",
            "{action: die, name: a}",
            "{action: die, name: b}",
            "{type: volume, action: create, name: a}",
        )
    )
    assert one == same != other
    assert volume == "a"


def test_an_event_as_an_engine_sends_it(tmp_path: Path) -> None:
    """May be given as JSON, as JSON in quotes, or as YAML."""
    record = read_records("docker26")[5].decode()
    yaml = "{Type: container, Action: die, Actor: {ID: c0, Attributes: {exitCode: 3}}}"
    pasted, quoted, plain = records(tmp_path, record, f"'{record}'", yaml)
    assert pasted == quoted == json.loads(record)
    assert plain["Actor"] == {"ID": "c0", "Attributes": {"exitCode": "3"}}
    assert plain["timeNano"] == json.loads(record)["timeNano"] + 10**9


def test_a_recording_beside_the_tests(tmp_path: Path) -> None:
    """Its path is relative to the file of tests; empty lines are skipped."""
    check_recording(tmp_path, b"\n\n".join(read_records("docker26")))


@pytest.mark.parametrize(
    ("case", "path"),
    [
        (r'recording: "\ud800", expect: []', "tests[0].recording"),
        (r'recording: "a\0", expect: []', "tests[0].recording"),
        (r'events: [{action: die}], expect: ["\ud800"]', "tests[0].expect[0]"),
        (r'events: [{action: die, label: {"\ud800": a}}]', "tests[0].events[0].label"),
        (r'expect: [{match: {label: {"\udfff": a}}}]', "tests[0].expect[0].match.label"),
    ],
)
def test_texts_that_no_encoding_has(tmp_path: Path, case: str, path: str) -> None:
    """YAML's escapes can write what no path and no record can hold."""
    with pytest.raises(ConfigError) as caught:
        parse_suite(tmp_path, f"tests: [{{name: it, {case}}}]")
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (
        path,
        "this text holds a NUL or an unpaired surrogate",
    )


def test_a_recording_of_a_json_sequence(tmp_path: Path) -> None:
    """The control character RS may precede each record (RFC 7464), as `relay replay` reads it."""
    check_recording(tmp_path, b"".join(b"\x1e%b\n" % record for record in read_records("docker26")))


def check_recording(tmp_path: Path, content: bytes) -> None:
    """Check that a recording with this content holds the records of a Docker engine."""
    (tmp_path / "recorded.jsonl").write_bytes(content)
    (case,) = parse_suite(
        tmp_path, "tests: [{name: it, recording: recorded.jsonl, expect: []}]"
    ).cases
    assert [each.record for each in case.events] == read_records("docker26")


def test_which_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The given one, else the one named in the file, else the default, else the built-in."""
    file = write_suite(tmp_path, f"tests: [{CASE}]")
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.replace("name: crashed", "name: other"))
    bare = tmp_path / "bare.yaml"
    bare.write_text(f"tests: [{CASE}]")
    environ = {"SLACK": "http://slack/"}

    def second_route(file: Path, chosen: Path | None) -> str:
        suite = load_suite(file, chosen, lambda: of_file(other), environ)
        return suite.config.routes[1].name

    assert second_route(file, other) == "other"
    assert second_route(file, None) == "crashed"
    assert second_route(bare, None) == "other"
    assert load_suite(bare, None, built_in, {}).config == default_config()


def test_problems_of_the_configuration(tmp_path: Path) -> None:
    """Are reported with their lines, as `relay check` does."""
    file = write_suite(tmp_path, f"tests: [{CASE}]", CONFIG.replace("to: plain}", "to: plan}"))
    with pytest.raises(ConfigError, match=r"config.yaml:\d+:\d+: routes\[4\].to: 'plan' is not"):
        load_suite(file, None, built_in, {})


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        ("test: []", "tests.yaml:3:1: test: unknown key 'test' (did you mean 'tests'?)"),
        ("tests:", "tests.yaml:3:7: tests: must be a list with at least one item, as in [{"),
        ("tests: [5]", "tests.yaml:3:9: tests[0]: must be a mapping, with 'key: value' lines"),
        (
            "tests: [{name: it, events: [{action: oom}]}]",
            "tests.yaml:3:9: tests[0]: needs 'expect' or 'expect_some'",
        ),
        (
            "tests: [{name: it, events: [], recording: x, expect: []}]",
            "tests.yaml:3:32: tests[0].recording: 'events' and 'recording' exclude each other",
        ),
        (
            "tests: [{name: it, recording: x, expect: []}]",
            "tests.yaml:3:31: tests[0].recording: 'x' cannot be read: No such file or directory",
        ),
        (
            "tests: [{name: it, recording: tests.yaml, expect: []}]",
            "tests.yaml:3:31: tests[0].recording: 'tests.yaml' line 1 is not an event (not_json)",
        ),
        (
            "tests: [{events: [{action: oom}], expect: []}]",
            "tests.yaml:3:9: tests[0].name: needs 'name': say what must hold",
        ),
        (
            "tests: [{name: it, engine: hree, events: [{action: oom}], expect: []}]",
            "tests.yaml:3:28: tests[0].engine: 'hree' is not an engine of the configuration "
            "(did you mean 'here'?)",
        ),
        (
            "tests: [{name: it, podman: 1, events: [{action: oom}], expect: []}]",
            "tests.yaml:3:28: tests[0].podman: must be true or false",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: crashed}]",
            "tests.yaml:3:53: tests[0].expect: must be a list, as in [{route: crashed, to: ops}]",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect_some: []}]",
            "tests.yaml:3:58: tests[0].expect_some: is empty: list what must be sent, or",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [crahsed]}]",
            "tests.yaml:3:54: tests[0].expect[0]: 'crahsed' is not a route of the configuration "
            "(did you mean 'crashed'?)",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{to: ops}]}]",
            "tests.yaml:3:54: tests[0].expect[0].route: needs 'route': name the route",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: crashed, to: opps}]}]",
            "tests.yaml:3:75: tests[0].expect[0].to: 'opps' is not a destination of the "
            "configuration (did you mean 'ops'?)",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: "
            "[{route: crashed, to: ops, body: {audit: x}}]}]",
            "tests.yaml:3:87: tests[0].expect[0].body.audit: is not among 'to'",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, body: {o: x}}]}]",
            "tests.yaml:3:74: tests[0].expect[0].body.o: 'o' is not a destination of the",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, body: {audit: }}]}]",
            "tests.yaml:3:80: tests[0].expect[0].body.audit: is empty: write a part of",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], "
            "expect: [{route: own, match: {cause: crash}}]}]",
            "tests.yaml:3:82: tests[0].expect[0].match.cause: 'crash' matches no cause",
        ),
        (
            "tests: [{name: it, events: [{acton: oom}], expect: []}]",
            "tests.yaml:3:30: tests[0].events[0].acton: unknown key 'acton' (did you mean",
        ),
        (
            "tests: [{name: it, events: [oom], expect: []}]",
            "tests.yaml:3:29: tests[0].events[0]: 'oom' is not JSON",
        ),
        (
            "tests: [{name: it, events: [5], expect: []}]",
            "tests.yaml:3:29: tests[0].events[0]: must be an event, as in {action: die, name: web",
        ),
        (
            "tests: [{name: it, events: [{Type: container}], expect: []}]",
            "tests.yaml:3:29: tests[0].events[0]: is not an event of an engine (missing_field)",
        ),
        (
            "tests: [{name: it, events: [{action: die, exit_code: '>3'}], expect: []}]",
            "tests.yaml:3:54: tests[0].events[0].exit_code: '>3' is not one number",
        ),
        (
            "tests: [{name: it, events: [{action: kill, signal: SIGKIL}], expect: []}]",
            "tests.yaml:3:52: tests[0].events[0].signal: 'SIGKIL' is not a signal",
        ),
        (
            "tests: [{name: it, events: [{action: die, cause: crash}], expect: []}]",
            "tests.yaml:3:50: tests[0].events[0].cause: 'crash' is not a cause: write one of",
        ),
        (
            "tests: [{name: it, events: [{action: die, at: 5}], expect: []}]",
            "tests.yaml:3:47: tests[0].events[0].at: '5' has no unit: write a duration as 500ms",
        ),
        (
            "tests: [{name: it, events: [{action: die, label: x}], expect: []}]",
            "tests.yaml:3:50: tests[0].events[0].label: must be a mapping of names to texts",
        ),
        (
            "tests: [{name: it, events: [{wait: 5}], expect: []}]",
            "tests.yaml:3:36: tests[0].events[0].wait: '5' has no unit: write a duration as 500ms",
        ),
        (
            "tests: [{name: it, events: [{action: oom, wait: 5m}], expect: []}]",
            "tests.yaml:3:43: tests[0].events[0].wait: stands by itself: write '- wait: 25h'",
        ),
        (
            "tests: [{name: it, events: [wait: 5m, {action: oom, at: 10s}], expect: []}]",
            "tests.yaml:3:39: tests[0].events[1]: happens before the end of the 'wait' above it",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, status: open}]}]",
            "tests.yaml:3:75: tests[0].expect[0].status: 'open' is not one of firing, resolved",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, reason: open}]}]",
            "tests.yaml:3:75: tests[0].expect[0].reason: 'open' is not one of opened, reopened, "
            "crash_looping, worse, stays_down, resolved, reminder, events (did you mean 'opened'?)",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, count: -1}]}]",
            "tests.yaml:3:74: tests[0].expect[0].count: must be a whole number, at least 0",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, count: true}]}]",
            "tests.yaml:3:74: tests[0].expect[0].count: must be a whole number, at least 0",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, at: soon}]}]",
            "tests.yaml:3:71: tests[0].expect[0].at: 'soon' is not a duration: write 500ms",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, incidents: web}]}]",
            "tests.yaml:3:78: tests[0].expect[0].incidents: must be their number, or a list, as in",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], "
            "expect: [{route: own, incidents: [{subjct: web}]}]}]",
            "tests.yaml:3:80: tests[0].expect[0].incidents[0].subjct: unknown key 'subjct' "
            "(did you mean 'subject'?)",
        ),
        (
            "tests: [{name: it, events: [{action: oom}], expect: [{route: own, incidents: [[]]}]}]",
            "tests.yaml:3:79: tests[0].expect[0].incidents[0]: must be the name of its container",
        ),
    ],
)
def test_problems_have_their_location(tmp_path: Path, tests: str, problem: str) -> None:
    """Each problem has its line, column and path, as in a configuration."""
    assert problems(tmp_path, tests)[0].startswith(problem)


def test_all_problems_at_once(tmp_path: Path) -> None:
    """One run reports every problem; a mistyped key is not also reported as missing."""
    tests = "tests: [{name: it, evnts: [], expect: [crahsed]}, {}]"
    assert [each.split(": ", 2)[1] for each in problems(tmp_path, tests)] == [
        "tests[0].evnts",
        "tests[0].expect[0]",
        "tests[1]",
        "tests[1]",
        "tests[1].name",
    ]


def test_an_empty_file(tmp_path: Path) -> None:
    """Says what a file of tests needs."""
    file = tmp_path / "tests.yaml"
    file.write_text("")
    with pytest.raises(ConfigError, match="holds no tests: write 'tests'"):
        load_suite(file, None, built_in, {})
