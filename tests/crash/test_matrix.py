"""A plan is run again if relay does not reach its point as often as the plan names."""

from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.crash import matrix
from tests.crash.plan import Plan, kill_at_first_hit, make_plan
from tests.crash.points import BY_NAME
from tests.crash.run import RunResult
from tests.crash.verdict import check_run

POINT = BY_NAME["sql.commit.before"]


async def run(plan: Plan, hits: int, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Return the plans that are run for this one if relay reaches the point so many times."""

    async def run_plan(plan: Plan, server: object, folder: Path) -> RunResult:
        kills = Counter({POINT.name: 1}) if plan.lifetimes[0].hit <= hits else Counter[str]()
        return RunResult(plan, kills, check_run({}, [], 0), (), "")

    monkeypatch.setattr(matrix, "run_plan", run_plan)
    monkeypatch.setattr(matrix, "fork_server", nullcontext)
    return [result.plan for result in await matrix.run_all(iter([plan]))]


async def test_a_point_that_is_reached_too_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is run again, for the first time that relay reaches it."""
    plan = make_plan(2, POINT)
    hit = plan.lifetimes[0].hit
    assert hit > 1
    assert await run(plan, hit, monkeypatch) == [plan]
    assert await run(plan, hit - 1, monkeypatch) == [plan, kill_at_first_hit(plan)]


async def test_a_point_that_is_never_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is not run again if that would be the same: its run has a fault."""
    plan = make_plan(1, POINT)
    assert await run(plan, 0, monkeypatch) == [plan]
