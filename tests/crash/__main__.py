"""Runs the crash matrix in any size: ``python -m tests.crash --runs 1000 --seed 1``."""

import asyncio
import sys
from time import perf_counter

import click

from tests.crash.matrix import describe_failures, format_table, make_plans, run_all
from tests.crash.points import BY_NAME, POINTS


@click.command()
@click.option("--runs", default=1, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the first run.")
@click.option("--point", "chosen", type=click.Choice(list(BY_NAME)), multiple=True)
def main(runs: int, seed: int, chosen: tuple[str, ...]) -> None:
    """Do this many runs and print the results; with --point only at these points."""
    points = [BY_NAME[name] for name in chosen] or POINTS
    started_s = perf_counter()
    results = asyncio.run(run_all(make_plans(runs, seed, points)))
    click.echo(format_table(results))
    last = seed + (runs - 1) // len(points)
    click.echo(f"seeds {seed} to {last}, {perf_counter() - started_s:.1f} s")
    if failures := describe_failures(results):
        click.echo(failures, err=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
