"""What every section of a configuration is made of, and what more than one of them holds."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from relay.config.errors import invalid
from relay.config.types import Duration, Fraction, NonEmptyPath, Ordering, RateLimit, WholeNumber


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        defer_build=True,
    )
    schema_rules: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Rules between the keys of this class as JSON Schema, which `relay schema` adds to ``allOf``.

    Each class has its own rules only; those of its bases apply as well.
    """


class TlsConfig(Section):
    """How to trust the other side, and how to be trusted by it."""

    schema_rules = ({"dependentRequired": {"cert_file": ["key_file"], "key_file": ["cert_file"]}},)

    ca_file: NonEmptyPath | None = None
    """The certificates to trust, and no others; without it those that the system trusts."""
    cert_file: NonEmptyPath | None = None
    """The certificate to show; needs ``key_file``."""
    key_file: NonEmptyPath | None = Field(default=None, validate_default=True)
    """Its key, without a passphrase."""

    @field_validator("key_file")
    @classmethod
    def _check_certificate_and_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise invalid("'cert_file' and 'key_file' go together: write both or neither")
        return value


class RetryConfig(Section):
    """How long and how often a delivery is tried."""

    initial: Duration = timedelta(seconds=1)
    """The wait after the first failure: more than 0s."""
    max: Duration = Field(default=timedelta(minutes=10), validate_default=True)
    """The longest wait; not shorter than ``initial``."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    """Each wait is so many times the one before it."""
    jitter: Fraction = 0.2
    """Each wait is up to this share shorter or longer, so that receivers are not hit in step."""
    max_age: Duration = Field(default=timedelta(hours=72), validate_default=True)
    """After so long a delivery becomes a dead letter; not shorter than ``initial``."""
    max_attempts: Annotated[WholeNumber, Field(ge=1)] | None = None
    """After so many a delivery becomes a dead letter, too; without it only by its age."""
    max_after: Duration = timedelta(hours=24)
    """The longest wait that a destination may ask for (``Retry-After``)."""

    @field_validator("initial")
    @classmethod
    def _check_not_zero(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("is no time at all")
        return value

    @field_validator("max", "max_age")
    @classmethod
    def _check_not_below_initial(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "initial" in info.data and value < info.data["initial"]:
            raise invalid(f"'{info.field_name}' is shorter than 'initial'")
        return value


class TimeoutConfig(Section):
    """How long an attempt may take."""

    connect: Duration = timedelta(seconds=5)
    """Until there is a connection: more than 0s."""
    total: Duration = Field(default=timedelta(seconds=15), validate_default=True)
    """Until the answer's status is known; not shorter than ``connect``."""

    @field_validator("connect")
    @classmethod
    def _check_not_zero(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("is no time at all")
        return value

    @field_validator("total")
    @classmethod
    def _check_not_below_connect(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "connect" in info.data and value < info.data["connect"]:
            raise invalid("'total' is shorter than 'connect'")
        return value


MAX_BATCH_WAIT = timedelta(seconds=5)


def _check_batch_wait(value: timedelta) -> timedelta:
    if value > MAX_BATCH_WAIT:
        raise ValueError(f"is more than {MAX_BATCH_WAIT.total_seconds():g}s")
    return value


class BatchConfig(Section):
    """How many notifications go in one request, and how long the first waits for others."""

    max: Annotated[WholeNumber, Field(ge=2, le=1000)] = 500
    """So many at most, in a body of at most 1 MiB."""
    wait: Annotated[Duration, AfterValidator(_check_batch_wait)] = timedelta(milliseconds=50)
    """So long the first waits for others, from when it was taken in: at most 5s. With 0s what is
    there goes at once."""


class DestinationConfig(Section):
    """What every destination has. `relay.destinations` has a subclass for each type."""

    public_keys: ClassVar[frozenset[str]] = frozenset(
        {"type", "concurrency", "retry", "rate_limit", "ordering"}
    )
    """The keys whose values an error message may show: none that may hold a secret. A subclass adds
    its own keys to those of its base."""

    if TYPE_CHECKING:
        # a literal of one string in each subclass; a field here would come first in the schema
        type: str

    concurrency: Annotated[WholeNumber, Field(ge=1, le=256)] = 8
    """How many requests may be under way at once; those about one container never are."""
    retry: RetryConfig = RetryConfig()
    rate_limit: RateLimit | None = None
    """At most so many requests in so long; destinations with the same host and path (and chat,
    topic or routing key) share it."""
    ordering: Ordering = "container"
    """``container``: deliveries about one container stay in order; with ``none`` each stands for
    itself."""
