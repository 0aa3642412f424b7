"""relay killed at every named point: nothing is lost, and what comes twice has one id."""

import os

from tests.crash.matrix import failures, plans, play_all, struck, table
from tests.crash.points import POINTS

RUNS = int(os.environ.get("RELAY_CRASH_RUNS", 2 * len(POINTS)))
SEED = 1


async def test_nothing_is_lost_wherever_relay_is_killed() -> None:
    """Every event is accepted by both webhooks, under one id, unchanged, in order.

    However often it is repeated; and no point of the list was out of relay's way.
    """
    records = await play_all(plans(RUNS, SEED))
    print(table(records))  # noqa: T201 - shown with -s, and whenever this fails
    wrong = failures(records)
    assert not wrong, wrong
    assert sum(record.verdict.lost for record in records) == 0
    assert {point.name for point in POINTS} == set(struck(records))
