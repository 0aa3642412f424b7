"""relay killed at every named point: nothing is lost, and what comes twice has one id."""

import os

from tests.crash.matrix import count_kills, describe_failures, format_table, make_plans, run_all
from tests.crash.points import POINTS

RUNS = int(os.environ.get("RELAY_CRASH_RUNS", len(POINTS) * 4 // 3))
SEED = 1


async def test_nothing_is_lost_wherever_relay_is_killed() -> None:
    """Every event is accepted by each webhook that it is for, under one id, unchanged, in order.

    However often it is repeated. So is each death that the engine forgot, with the gap declared,
    and what a route wants besides. And no point of the list was out of relay's way.
    """
    records = await run_all(make_plans(RUNS, SEED))
    print(format_table(records))  # noqa: T201 - shown with -s, and whenever this fails
    wrong = describe_failures(records)
    assert not wrong, wrong
    assert sum(record.verdict.lost for record in records) == 0
    assert sum(record.verdict.forgotten for record in records) > 0
    assert sum(record.verdict.enriched for record in records) > 0
    assert {point.name for point in POINTS} == set(count_kills(records))
