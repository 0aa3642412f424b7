"""How many notifications go in one request."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from relay.config.section import Section
from relay.config.values import Duration, WholeNumber

WAIT_MAX = timedelta(seconds=5)


def _wait(value: timedelta) -> timedelta:
    if value > WAIT_MAX:
        raise ValueError(f"is more than {WAIT_MAX.total_seconds():g}s")
    return value


class BatchConfig(Section):
    """How many notifications go in one request, and how long the first waits for others."""

    max: Annotated[WholeNumber, Field(ge=2, le=1000)] = 500
    """So many at most, in a body of at most 1 MiB."""
    wait: Annotated[Duration, AfterValidator(_wait)] = timedelta(milliseconds=50)
    """So long the first waits for others, from when it was taken in: at most 5s. With 0s what is
    there goes at once."""
