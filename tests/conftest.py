"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog

from tests.support.profiles import load_profile

load_profile()


@pytest.fixture(autouse=True)
def reset_logs() -> Iterator[None]:
    """Each test finds the logging configuration as it is by default."""
    yield
    structlog.reset_defaults()
