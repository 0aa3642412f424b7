"""How often a delivery is attempted, and how long an attempt may take."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from relay.config.mistakes import whole
from relay.config.section import Section
from relay.config.values import Duration, Share, WholeNumber


class RetryConfig(Section):
    """How long and how often a delivery is tried."""

    initial: Duration = timedelta(seconds=1)
    """The wait after the first failure: more than 0s."""
    max: Duration = Field(default=timedelta(minutes=10), validate_default=True)
    """The longest wait; not shorter than ``initial``."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    """Each wait is so many times the one before it."""
    jitter: Share = 0.2
    """Each wait is up to this share shorter or longer, so that receivers are not hit in step."""
    max_age: Duration = Field(default=timedelta(hours=72), validate_default=True)
    """After so long a delivery becomes a dead letter; not shorter than ``initial``."""
    max_attempts: Annotated[WholeNumber, Field(ge=1)] | None = None
    """After so many a delivery becomes a dead letter, too; without it only by its age."""
    max_after: Duration = timedelta(hours=24)
    """The longest wait that a destination may ask for (``Retry-After``)."""

    @field_validator("initial")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("is no time at all")
        return value

    @field_validator("max", "max_age")
    @classmethod
    def _not_before_initial(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "initial" in info.data and value < info.data["initial"]:
            raise whole(f"'{info.field_name}' is shorter than 'initial'")
        return value


class TimeoutConfig(Section):
    """How long an attempt may take."""

    connect: Duration = timedelta(seconds=5)
    """Until there is a connection: more than 0s."""
    total: Duration = Field(default=timedelta(seconds=15), validate_default=True)
    """Until the answer's status is known; not shorter than ``connect``."""

    @field_validator("connect")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("is no time at all")
        return value

    @field_validator("total")
    @classmethod
    def _not_before_connect(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "connect" in info.data and value < info.data["connect"]:
            raise whole("'total' is shorter than 'connect'")
        return value
