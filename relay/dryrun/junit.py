"""The results of `relay test` in JUnit's XML format, which CI servers display."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from relay.core.text import escape_unprintable
from relay.dryrun.compare import CaseResult


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The results of one file of tests."""

    file: str
    cases: Sequence[CaseResult]
    duration_s: float


def build_report(suites: Iterable[SuiteResult]) -> bytes:
    """Return the XML: a ``testsuite`` for each file, and a ``testcase`` for each case in it.

    A case's ``failure`` holds its differences, one a line.
    """
    root = Element("testsuites")
    for result in suites:
        failed = sum(bool(case.differences) for case in result.cases)
        suite = SubElement(
            root,
            "testsuite",
            name=escape_unprintable(result.file),
            tests=str(len(result.cases)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{result.duration_s:.3f}",
        )
        for case_result in result.cases:
            _add_case(suite, result.file, case_result)
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _add_case(suite: Element, file: str, result: CaseResult) -> None:
    case = SubElement(
        suite,
        "testcase",
        name=escape_unprintable(result.case.name),
        classname=escape_unprintable(file),
        file=escape_unprintable(file),
        line=str(result.case.line),
    )
    if lines := [escape_unprintable(line) for line in result.differences]:
        failure = SubElement(case, "failure", message=lines[0], type="difference")
        failure.text = "\n".join(lines)
