"""JUnit reports."""

from pathlib import Path
from xml.etree import ElementTree

from relay.cli.test import SuiteResult, build_report
from relay.dryrun.compare import run_suite
from tests.unit.dryrun.suites import parse_suite

TESTS = """tests:
  - {name: "a <good> one", events: [{action: oom, name: db}], expect: [out-of-memory]}
  - {name: "a bad one", events: [{action: oom, name: "\\e[2J"}], expect: []}
"""


def test_a_report(tmp_path: Path) -> None:
    """Holds the counts, each case's file and line, and its differences."""
    xml = build_report([SuiteResult("t.yaml", list(run_suite(parse_suite(tmp_path, TESTS))), 0.25)])
    (found,) = ElementTree.fromstring(xml)
    assert found.attrib == {
        "name": "t.yaml",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
        "time": "0.250",
    }
    good, bad = found
    assert (good.get("name"), good.get("file"), good.get("line")) == ("a <good> one", "t.yaml", "4")
    assert len(good) == 0
    assert "not expected: out-of-memory" in (bad[0].text or "")


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    """XML 1.0 cannot represent them."""
    assert b"\x1b" not in build_report(
        [SuiteResult("t\x1b", list(run_suite(parse_suite(tmp_path, TESTS))), 0.0)]
    )
