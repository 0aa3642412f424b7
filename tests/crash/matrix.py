"""Many runs, and the table of what they came to."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.crash.forkserver import Zygote, zygote
from tests.crash.plan import Plan, plan
from tests.crash.points import POINTS, Point
from tests.crash.run import Record, play

AT_ONCE = 4
"""Runs side by side."""

HEADS = (
    *("point", "runs", "struck", "kills", "events", "unheard"),
    *("arrived", "enriched", "gaps", "repeated", "lost"),
)


def plans(runs: int, seed: int, points: Sequence[Point] = POINTS) -> Iterator[Plan]:
    """So many plans: every point with the first seed, then every point with the next."""
    for number in range(runs):
        yield plan(seed + number // len(points), points[number % len(points)])


async def play_all(todo: Iterator[Plan], at_once: int = AT_ONCE) -> list[Record]:
    """Do all that is planned."""
    records: list[Record] = []

    async def work(victims: Zygote) -> None:
        for what in todo:
            with tempfile.TemporaryDirectory(prefix="crash-") as folder:
                records.append(await play(what, victims, Path(folder)))

    async with AsyncExitStack() as stack:
        zygotes = [await stack.enter_async_context(zygote()) for _ in range(at_once)]
        async with asyncio.TaskGroup() as workers:
            for victims in zygotes:
                workers.create_task(work(victims))
    return records


def struck(records: Sequence[Record]) -> Counter[str]:
    """How often relay was killed, by point."""
    return sum((record.struck for record in records), Counter())


def failures(records: Sequence[Record]) -> str:
    """What went wrong, run by run, and how to repeat it; empty where nothing did."""
    return "\n\n".join(
        "\n".join([f"python -m tests.crash {it.plan}", *it.faults, it.log])
        for it in records
        if it.faults
    )


def table(records: Sequence[Record]) -> str:
    """The figures by the point at which the first life of a run was to end, and all together."""
    hits = struck(records)
    lines: list[tuple[str, ...]] = [HEADS]
    for name in dict.fromkeys(point.name for point in POINTS):
        at_it = [record for record in records if record.plan.point.name == name]
        if at_it:
            lines.append((name, *_figures(at_it, hits[name])))
    lines.append(("all", *_figures(records, hits.total())))
    return "\n".join(
        line[0].ljust(26) + "".join(cell.rjust(9) for cell in line[1:]) for line in lines
    )


def _figures(records: Sequence[Record], hits: int) -> tuple[str, ...]:
    verdicts = [record.verdict for record in records]
    figures = (
        len(records),
        hits,
        sum(record.struck.total() for record in records),
        sum(verdict.events for verdict in verdicts),
        sum(verdict.unheard for verdict in verdicts),
        sum(verdict.arrived for verdict in verdicts),
        sum(verdict.enriched for verdict in verdicts),
        sum(verdict.gaps for verdict in verdicts),
        sum(verdict.repeated for verdict in verdicts),
        sum(verdict.lost for verdict in verdicts),
    )
    return tuple(map(str, figures))
