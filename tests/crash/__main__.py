"""The crash matrix in any size: ``python -m tests.crash --runs 1000 --seed 1``."""

import asyncio
import sys
from time import perf_counter

import click

from tests.crash.matrix import count_kills, describe_failures, format_table, make_plans, run_all
from tests.crash.points import BY_NAME, POINTS


@click.command()
@click.option("--runs", default=1, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the first run.")
@click.option("--point", "chosen", type=click.Choice(list(BY_NAME)), multiple=True)
def main(runs: int, seed: int, chosen: tuple[str, ...]) -> None:
    """Play so many runs and print what they came to; with --point only at these."""
    points = [BY_NAME[name] for name in chosen] or POINTS
    begun_s = perf_counter()
    records = asyncio.run(run_all(make_plans(runs, seed, points)))
    click.echo(format_table(records))
    last = seed + (runs - 1) // len(points)
    click.echo(f"seeds {seed} to {last}, {perf_counter() - begun_s:.1f} s")
    never = [point.name for point in points if not count_kills(records)[point.name]]
    if never:
        click.echo(f"never reached: {', '.join(never)}")
    if wrong := describe_failures(records):
        click.echo(wrong, err=True)
    sys.exit(bool(never or wrong))


if __name__ == "__main__":
    main()
