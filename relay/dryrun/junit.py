"""What came of tests as JUnit's XML, which CI servers show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from relay.core.text import escape_unprintable
from relay.dryrun.compare import CaseResult


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What came of one file."""

    file: str
    cases: Sequence[CaseResult]
    duration_s: float


def build_report(files: Iterable[SuiteResult]) -> bytes:
    """A suite for each file, a case for each case; a failure holds the differences."""
    root = Element("testsuites")
    for ran in files:
        failed = sum(bool(each.differences) for each in ran.cases)
        suite = SubElement(
            root,
            "testsuite",
            name=escape_unprintable(ran.file),
            tests=str(len(ran.cases)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{ran.duration_s:.3f}",
        )
        for judgement in ran.cases:
            _add_case(suite, ran.file, judgement)
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _add_case(suite: Element, file: str, judgement: CaseResult) -> None:
    case = SubElement(
        suite,
        "testcase",
        name=escape_unprintable(judgement.case.name),
        classname=escape_unprintable(file),
        file=escape_unprintable(file),
        line=str(judgement.case.line),
    )
    if lines := [escape_unprintable(line) for line in judgement.differences]:
        failure = SubElement(case, "failure", message=lines[0], type="difference")
        failure.text = "\n".join(lines)
