"""``relay test``: runs unit tests of a configuration, and writes JUnit's XML for CI servers."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import click

from relay.cli.options import config_option, find_config
from relay.cli.tables import format_count
from relay.core.errors import ConfigError, Problem
from relay.core.text import escape_unprintable
from relay.dryrun.compare import CaseResult, run_suite
from relay.dryrun.suite import Suite, load_suite


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The results of one file of tests."""

    file: str
    cases: Sequence[CaseResult]
    duration_s: float


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@config_option
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the results to FILE, as JUnit's XML.",
)
def test(files: tuple[Path, ...], config_file: Path | None, junit: Path | None) -> None:
    """Run unit tests of a configuration: events, and what must be sent for them.

    Each FILE names the configuration that it tests; --config replaces it. The daemon's own code
    finds causes, routes and renders; nothing is sent, and no engine is asked. Exit code 1 if a
    test fails, 2 if a FILE or the configuration is wrong.
    """
    results = [_run_and_print(suite) for suite in _load_suites(files, config_file)]
    count = sum(len(result.cases) for result in results)
    failed = sum(bool(case.differences) for result in results for case in result.cases)
    click.echo(f"{format_count(count, 'test', 'tests')}, {failed or 'none'} failed")
    if junit is not None:
        junit.write_bytes(build_report(results))
    if failed:
        raise SystemExit(1)


def _load_suites(files: Sequence[Path], config_file: Path | None) -> list[Suite]:
    """Load all files; raises `ConfigError` with the problems of all of them."""
    suites: list[Suite] = []
    problems: set[Problem] = set()
    for file in files:
        try:
            suites.append(load_suite(file, config_file, lambda: find_config(None), os.environ))
        except ConfigError as error:
            problems.update(error.problems)
    if problems:
        raise ConfigError(list(problems))
    return suites


def _run_and_print(suite: Suite) -> SuiteResult:
    """Run a suite, and print each result as soon as it is there."""
    started_s = perf_counter()
    click.echo(suite.file)
    results = []
    for result in run_suite(suite):
        results.append(result)
        case, name = result.case, escape_unprintable(result.case.name)
        if not result.differences:
            click.echo(f"✓ {name}")
            continue
        click.echo(f"✗ {name} ({suite.file}:{case.line})")
        for line in result.differences:
            click.echo(f"    {escape_unprintable(line)}")
    return SuiteResult(str(suite.file), results, perf_counter() - started_s)


def build_report(suites: Iterable[SuiteResult]) -> bytes:
    """Return JUnit's XML: a ``testsuite`` for each file, and a ``testcase`` for each case in it.

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
