"""relay is killed at every named point: nothing is lost, and what arrives twice has the same id."""

import os

from tests.crash.matrix import count_kills, describe_failures, format_table, make_plans, run_all
from tests.crash.points import POINTS

RUNS = int(os.environ.get("RELAY_CRASH_RUNS", len(POINTS)))
"""By default each point once: relay is killed when it first reaches it."""
SEED = 1


async def test_nothing_is_lost_wherever_relay_is_killed() -> None:
    """Each webhook accepts every event that it should get, under one id, unchanged and in order.

    It may accept an event more than once. The same is true of deaths that the engine forgot, for
    which a gap is declared, and of content that a route includes. A crash is reported once where
    incidents are, and so is its end. Every point of the list was reached.
    """
    results = await run_all(make_plans(RUNS, SEED))
    print(format_table(results))  # noqa: T201 - shown with -s, and whenever this fails
    failures = describe_failures(results)
    assert not failures, failures
    assert sum(result.verdict.lost for result in results) == 0
    assert sum(result.verdict.forgotten for result in results) > 0
    assert sum(result.verdict.enriched for result in results) > 0
    assert sum(result.verdict.reported for result in results) > 0
    assert sum(result.verdict.refused for result in results) > 0
    assert {point.name for point in POINTS} == set(count_kills(results))
