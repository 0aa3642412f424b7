"""Many runs, and the table of what they came to."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.crash.forkserver import ForkServer, fork_server
from tests.crash.plan import Plan, make_plan
from tests.crash.points import POINTS, Point
from tests.crash.run import RunResult, run_plan

PARALLEL_RUNS = 4
"""Runs side by side."""

HEADERS = (
    *("point", "runs", "struck", "kills", "events", "unheard"),
    *("arrived", "enriched", "gaps", "repeated", "lost"),
)


def make_plans(runs: int, seed: int, points: Sequence[Point] = POINTS) -> Iterator[Plan]:
    """So many plans: every point with the first seed, then every point with the next."""
    for number in range(runs):
        yield make_plan(seed + number // len(points), points[number % len(points)])


async def run_all(todo: Iterator[Plan], at_once: int = PARALLEL_RUNS) -> list[RunResult]:
    """Do all that is planned."""
    records: list[RunResult] = []

    async def work(victims: ForkServer) -> None:
        for what in todo:
            with tempfile.TemporaryDirectory(prefix="crash-") as folder:
                records.append(await run_plan(what, victims, Path(folder)))

    async with AsyncExitStack() as stack:
        zygotes = [await stack.enter_async_context(fork_server()) for _ in range(at_once)]
        async with asyncio.TaskGroup() as workers:
            for victims in zygotes:
                workers.create_task(work(victims))
    return records


def count_kills(records: Sequence[RunResult]) -> Counter[str]:
    """How often relay was killed, by point."""
    return sum((record.kills for record in records), Counter())


def describe_failures(records: Sequence[RunResult]) -> str:
    """What went wrong, run by run, and how to repeat it; empty where nothing did."""
    return "\n\n".join(
        "\n".join([f"python -m tests.crash {it.plan}", *it.faults, it.log])
        for it in records
        if it.faults
    )


def format_table(records: Sequence[RunResult]) -> str:
    """The figures by the point at which the first life of a run was to end, and all together."""
    kills = count_kills(records)
    lines: list[tuple[str, ...]] = [HEADERS]
    for name in dict.fromkeys(point.name for point in POINTS):
        at_it = [record for record in records if record.plan.point.name == name]
        if at_it:
            lines.append((name, *_figures(at_it, kills[name])))
    lines.append(("all", *_figures(records, kills.total())))
    return "\n".join(
        line[0].ljust(26) + "".join(cell.rjust(9) for cell in line[1:]) for line in lines
    )


def _figures(records: Sequence[RunResult], kills: int) -> tuple[str, ...]:
    verdicts = [record.verdict for record in records]
    figures = (
        len(records),
        kills,
        sum(record.kills.total() for record in records),
        sum(verdict.events for verdict in verdicts),
        sum(verdict.forgotten for verdict in verdicts),
        sum(verdict.arrived for verdict in verdicts),
        sum(verdict.enriched for verdict in verdicts),
        sum(verdict.gaps for verdict in verdicts),
        sum(verdict.repeated for verdict in verdicts),
        sum(verdict.lost for verdict in verdicts),
    )
    return tuple(map(str, figures))
