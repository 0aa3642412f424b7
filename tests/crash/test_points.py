"""The names that the crash matrix looks up in relay exist, so that a rename is noticed at once."""

from operator import attrgetter
from pkgutil import resolve_name

from tests.crash.child import SHORTENED_WAITS
from tests.crash.points import POINTS


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
