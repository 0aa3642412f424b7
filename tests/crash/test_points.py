"""The crash matrix finds in relay what it names, and its plans cause what a point needs."""

import sys
from importlib import import_module
from operator import attrgetter
from pkgutil import resolve_name

from tests.crash.child import SHORTENED_WAITS
from tests.crash.plan import make_plan
from tests.crash.points import POINTS, REMOVAL_POINTS


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


def test_every_run_reaches_the_removal_of_a_container() -> None:
    """Whatever its seed, a plan for that point removes a container in the first lifetime.

    Its death has arrived by then, so the container was stored.
    """
    for point in REMOVAL_POINTS:
        for seed in range(1, 200):
            plan = make_plan(seed, point)
            before, *_, last = plan.lifetimes[0].during
            assert [event.action for event in (*before, *last)] == ["start", "die", "destroy"]
            assert plan.arrived_share == 1
