"""Does many runs, and formats their results as a table."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.crash.forkserver import ForkServer, fork_server
from tests.crash.plan import Plan, kill_at_first_hit, make_plan
from tests.crash.points import POINTS, Point
from tests.crash.run import RunResult, run_plan

PARALLEL_RUNS = 4
"""How many runs are done at the same time."""

HEADERS = (
    *("point", "runs", "reached", "kills", "events", "forgotten"),
    *("arrived", "enriched", "reported", "refused", "gaps", "repeated", "lost"),
)


def make_plans(runs: int, seed: int, points: Sequence[Point] = POINTS) -> Iterator[Plan]:
    """Yield this many plans: every point with the first seed, then every point with the next."""
    for number in range(runs):
        yield make_plan(seed + number // len(points), points[number % len(points)])


async def run_all(plans: Iterator[Plan], parallel: int = PARALLEL_RUNS) -> list[RunResult]:
    """Run all plans.

    A plan whose point relay does not reach as often as it names is run again, for the first time.
    """
    results: list[RunResult] = []

    async def run(plan: Plan, server: ForkServer) -> RunResult:
        with tempfile.TemporaryDirectory(prefix="crash-") as folder:
            result = await run_plan(plan, server, Path(folder))
        results.append(result)
        return result

    async def work(server: ForkServer) -> None:
        for plan in plans:
            result = await run(plan, server)
            if result.kills[plan.point.name] == 0 and plan.lifetimes[0].hit > 1:
                await run(kill_at_first_hit(plan), server)

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(fork_server()) for _ in range(parallel)]
        async with asyncio.TaskGroup() as workers:
            for server in servers:
                workers.create_task(work(server))
    return results


def count_kills(results: Sequence[RunResult]) -> Counter[str]:
    """Return how often relay was killed, by point."""
    return sum((result.kills for result in results), Counter())


def describe_failures(results: Sequence[RunResult]) -> str:
    """Return what went wrong in each failed run, and the command that repeats it.

    Empty if nothing went wrong.
    """
    return "\n\n".join(
        "\n".join([f"python -m tests.crash {it.plan}", *it.faults, it.log])
        for it in results
        if it.faults
    )


def format_table(results: Sequence[RunResult]) -> str:
    """Return the figures for all runs, and by the point that ends a run's first lifetime."""
    kills = count_kills(results)
    lines: list[tuple[str, ...]] = [HEADERS]
    for name in dict.fromkeys(point.name for point in POINTS):
        at_point = [result for result in results if result.plan.point.name == name]
        if at_point:
            lines.append((name, *_figures(at_point, kills[name])))
    lines.append(("all", *_figures(results, kills.total())))
    return "\n".join(
        line[0].ljust(26) + "".join(cell.rjust(10) for cell in line[1:]) for line in lines
    )


def _figures(results: Sequence[RunResult], kills: int) -> tuple[str, ...]:
    verdicts = [result.verdict for result in results]
    figures = (
        len(results),
        kills,
        sum(result.kills.total() for result in results),
        sum(verdict.events for verdict in verdicts),
        sum(verdict.forgotten for verdict in verdicts),
        sum(verdict.arrived for verdict in verdicts),
        sum(verdict.enriched for verdict in verdicts),
        sum(verdict.reported for verdict in verdicts),
        sum(verdict.refused for verdict in verdicts),
        sum(verdict.gaps for verdict in verdicts),
        sum(verdict.repeated for verdict in verdicts),
        sum(verdict.lost for verdict in verdicts),
    )
    return tuple(map(str, figures))
