"""The crash matrix finds in relay what it names, and its plans cause what a point needs."""

import sys
from importlib import import_module
from operator import attrgetter
from pkgutil import resolve_name

import pytest

from tests.crash.child import SHORTENED_WAITS
from tests.crash.plan import make_plan
from tests.crash.points import CHANGE_POINTS, POINTS, REMOVAL_POINTS, Point


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
    [(REMOVAL_POINTS, ["start", "die", "destroy"]), (CHANGE_POINTS, ["start", "die"])],
)
def test_every_run_reaches_the_change_of_a_stored_container(
    points: frozenset[Point], story: list[str]
) -> None:
    """Whatever its seed, a plan for such a point changes a container in the first lifetime.

    Everything before the change has arrived by then, so the container was stored.
    """
    for point in points:
        for seed in range(1, 200):
            plan = make_plan(seed, point)
            before, *_, last = plan.lifetimes[0].during
            assert [event.action for event in (*before, *last)] == story
            assert plan.arrived_share == 1
