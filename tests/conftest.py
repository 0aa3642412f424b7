"""What holds for every test."""

import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.support.profiles import load_profile

load_profile()

# Bytecode is kept, whatever the environment says. Otherwise each worker compiles every test, which
# takes 10 s of CPU time, and each process that is started compiles relay.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def reset_logs() -> Iterator[None]:
    """Each test finds the logging configuration as it is by default."""
    yield
    structlog.reset_defaults()
