"""The crash matrix finds in relay what it names, and its plans cause what a point needs."""

import sys
from dataclasses import replace
from importlib import import_module
from operator import attrgetter
from pkgutil import resolve_name

import pytest

from tests.crash.child import SHORTENED_WAITS
from tests.crash.plan import kill_at_first_hit, make_plan
from tests.crash.points import (
    CHANGE_POINTS,
    INCIDENT_POINTS,
    INSPECTION_POINTS,
    POINTS,
    REMOVAL_POINTS,
    Point,
)


def test_every_point_names_a_function() -> None:
    """Otherwise its runs would fail only after relay has started."""
    for point in POINTS:
        if point.is_call:
            module, _, name = point.target.partition(":")
            assert callable(attrgetter(name)(resolve_name(module))), point.name


def test_every_shortened_wait_exists() -> None:
    """Setting a constant that does not exist would change nothing."""
    for module, name, shorter in SHORTENED_WAITS:
        assert getattr(module, name) > shorter


def test_every_shortened_wait_is_read_from_its_module() -> None:
    """A module that imports the constant by its name would keep the longer wait."""
    import_module("relay.daemon.run")
    for module, name, _ in SHORTENED_WAITS:
        modules = [each for key, each in sys.modules.items() if key.startswith("relay.")]
        assert [each for each in modules if hasattr(each, name)] == [module]


@pytest.mark.parametrize(
    ("points", "story"),
    [
        (REMOVAL_POINTS | INCIDENT_POINTS, ["start", "die", "destroy"]),
        (CHANGE_POINTS | INSPECTION_POINTS, ["start", "die"]),
    ],
)
def test_every_plan_causes_what_leads_to_its_point(
    points: frozenset[Point], story: list[str]
) -> None:
    """Whatever its seed, it happens to one more container in the first lifetime."""
    for point in points:
        for seed in range(1, 200):
            before, *_, last = make_plan(seed, point).lifetimes[0].during
            assert [event.action for event in (*before, *last)] == story


def test_a_stored_container_is_changed() -> None:
    """Everything before its change or removal arrives first, so the container was stored."""
    for point in REMOVAL_POINTS | CHANGE_POINTS:
        assert all(make_plan(seed, point).arrived_share == 1 for seed in range(1, 200))


def test_a_plan_that_kills_at_the_first_hit() -> None:
    """It is the same, except for when the first lifetime ends."""
    for point in POINTS:
        plan, odd_plan = make_plan(2, point), make_plan(1, point)
        first, *others = kill_at_first_hit(plan).lifetimes
        assert first == replace(plan.lifetimes[0], hit=1)
        assert others == list(plan.lifetimes[1:])
        assert kill_at_first_hit(odd_plan) == odd_plan
