"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# The same examples every time, however slow the machine, and a way to repeat one that fails.
settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """No test finds the logs as another has set them up."""
    yield
    structlog.reset_defaults()
