"""Short runs of the program that kills."""

from pathlib import Path

import pytest

from tools.fleet_kills import Plan, Times, is_clean, measure

TIMES = Times(ack_wait=1, priority_timeout=2)


@pytest.mark.parametrize(
    ("killed", "kills"),
    [
        (["edge", "hub", "server"], 6),
        (["active hub of two"], 3),
        (["leader of three", "all three"], 2),
    ],
    ids=["one of each", "hub", "cluster"],
)
async def test_kills(killed: list[str], kills: int, tmp_path: Path) -> None:
    """Nothing is lost, reordered or sent under two ids, and nothing comes twice without a kill."""
    plan = Plan(kills, times=TIMES, dead_s=(0.0, 0.5), alive_s=(0.5, 1.0))
    verdict = await measure(tmp_path, killed, plan)
    print(verdict)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(verdict), verdict
    assert verdict["events"] > 100
