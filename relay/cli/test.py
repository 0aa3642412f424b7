"""``relay test``."""

import os
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import click

from relay.cli.options import config_option, find_config
from relay.core.errors import ConfigError, Problem
from relay.core.text import escape_unprintable
from relay.dryrun.compare import run_suite
from relay.dryrun.junit import SuiteResult, build_report
from relay.dryrun.suite import Suite
from relay.dryrun.suite_parser import load_suite


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@config_option
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what came of it there as JUnit's XML, too.",
)
def test(files: tuple[Path, ...], chosen: Path | None, junit: Path | None) -> None:
    """Run unit tests of a configuration: events, and what is to be sent for them.

    A FILE names the configuration that it is for; --config takes another one. The daemon's own
    code judges, routes and renders; nothing is sent, and no engine is asked. Exit code 1 if a
    test fails, 2 if a FILE or the configuration is wrong.
    """
    ran = [_run_and_print(suite) for suite in _load_suites(files, chosen)]
    cases = sum(len(each.cases) for each in ran)
    failed = sum(bool(it.differences) for each in ran for it in each.cases)
    click.echo(f"{cases} {'test' if cases == 1 else 'tests'}, {failed or 'none'} failed")
    if junit is not None:
        junit.write_bytes(build_report(ran))
    if failed:
        raise SystemExit(1)


def _load_suites(files: Sequence[Path], chosen: Path | None) -> list[Suite]:
    """All of them; raises `ConfigError` with what is wrong with any."""
    suites: list[Suite] = []
    problems: set[Problem] = set()
    for file in files:
        try:
            suites.append(load_suite(file, chosen, find_config(None), os.environ))
        except ConfigError as error:
            problems.update(error.problems)
    if problems:
        raise ConfigError(list(problems))
    return suites


def _run_and_print(suite: Suite) -> SuiteResult:
    begun_s = perf_counter()
    click.echo(suite.file)
    judgements = []
    for judgement in run_suite(suite):
        judgements.append(judgement)
        case = judgement.case
        if not judgement.differences:
            click.echo(f"✓ {escape_unprintable(case.name)}")
            continue
        click.echo(f"✗ {escape_unprintable(case.name)} ({suite.file}:{case.line})")
        for line in judgement.differences:
            click.echo(f"    {escape_unprintable(line)}")
    return SuiteResult(str(suite.file), judgements, perf_counter() - begun_s)
