"""What came of tests as JUnit's XML, which CI servers show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from relay.core.text import visible
from relay.dryrun.compare import Judgement


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one file."""

    file: str
    judgements: Sequence[Judgement]
    took_s: float


def report(files: Iterable[Ran]) -> bytes:
    """A suite for each file, a case for each case; a failure holds the differences."""
    root = Element("testsuites")
    for ran in files:
        failed = sum(bool(each.differences) for each in ran.judgements)
        suite = SubElement(
            root,
            "testsuite",
            name=visible(ran.file),
            tests=str(len(ran.judgements)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{ran.took_s:.3f}",
        )
        for judgement in ran.judgements:
            _case(suite, ran.file, judgement)
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _case(suite: Element, file: str, judgement: Judgement) -> None:
    case = SubElement(
        suite,
        "testcase",
        name=visible(judgement.case.name),
        classname=visible(file),
        file=visible(file),
        line=str(judgement.case.line),
    )
    if lines := [visible(line) for line in judgement.differences]:
        failure = SubElement(case, "failure", message=lines[0], type="difference")
        failure.text = "\n".join(lines)
