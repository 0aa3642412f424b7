"""The configuration: what can be set, and what it is when it is not.

What is wrong with one value is a `ValueError` or `Mistakes` of its validator; `problems` puts
that into words and `load` says where it stands. A rule about two values belongs to the later
of them, so that it is checked whatever else is wrong.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from relay.config import checks
from relay.config.match import Match
from relay.config.match_reader import parse_match
from relay.config.mistakes import About, Mistake, Mistakes, did_you_mean, whole
from relay.config.references import LOCAL, Names
from relay.config.values import (
    BufferSize,
    Duration,
    HeaderName,
    HeaderValue,
    InspectField,
    Interval,
    Listening,
    Location,
    Name,
    Start,
    StoreSize,
    Throttle,
    WebhookUrl,
    WhenFull,
    WholeNumber,
    one_as_list,
)
from relay.notification import Include


def _match(value: object, info: ValidationInfo) -> Match:
    if isinstance(value, Match):
        return value
    return parse_match(value, engines=_names(info).engines)


def _names(info: ValidationInfo) -> Names:
    return info.context if isinstance(info.context, Names) else Names()


def _nothing_as_empty(value: object) -> object:
    return {} if value is None else value


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", coerce_numbers_to_str=True, hide_input_in_errors=True
    )


class TlsConfig(_Model):
    """How to trust an engine, and how to be trusted by it."""

    ca_file: Location | None = None
    cert_file: Location | None = None
    key_file: Location | None = Field(default=None, validate_default=True)

    @field_validator("key_file")
    @classmethod
    def _with_its_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise whole("'cert_file' and 'key_file' go together: write both or neither")
        return value


class EngineConfig(_Model):
    """One Docker API; with nothing set, the one that the docker CLI would take."""

    url: Annotated[str, AfterValidator(checks.engine_url)] | None = None
    context: Annotated[str, AfterValidator(checks.title)] | None = None
    """A docker context, in place of ``url``."""
    host: Annotated[str, AfterValidator(checks.title)] | None = None
    """The name that people know it by."""
    tls: TlsConfig | None = None
    start_from: Start = "now"
    """Where the very first start begins."""

    @field_validator("context")
    @classmethod
    def _instead_of_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("url") is not None:
            raise whole("'url' and 'context' exclude each other: keep one")
        return value

    @field_validator("tls")
    @classmethod
    def _over_tcp(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        # "url" is absent here if it is wrong itself
        url = info.data.get("url", "tcp:")
        if value is not None and not (url or "").startswith(("tcp:", "https:")):
            raise whole("is for a tcp:// or https:// 'url' only")
        return value


class IngestConfig(_Model):
    """What stands between the engines and the store."""

    buffer: BufferSize = 64 * 2**20
    """How much of the engines' streams may wait in memory, in bytes."""


class ReconcileConfig(_Model):
    """When an engine's containers are compared with what its events told."""

    every: Interval = timedelta(minutes=5)
    """Zero for never but after a reconnect and a loss."""
    on_reconnect: bool = True


class StoreConfig(_Model):
    """Where deliveries are kept, and how many."""

    path: Location | None = None
    """None for relay.db in the state folder."""
    max_size: StoreSize = 2**30
    """How much it may hold, in bytes."""
    when_full: WhenFull = "drop-oldest"


class AdminConfig(_Model):
    """Where relay answers questions about itself."""

    listen: Listening


class RetryConfig(_Model):
    """How long and how often a delivery is tried."""

    initial: Duration = timedelta(seconds=1)
    """The wait after the first failure; it doubles from there."""
    max: Duration = Field(default=timedelta(minutes=10), validate_default=True)
    """The longest wait."""
    max_age: Duration = Field(default=timedelta(hours=72), validate_default=True)
    """After so long it is given up."""

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


class _Destination(_Model):
    concurrency: Annotated[WholeNumber, Field(ge=1, le=256)] = 8
    """How many deliveries may be under way at once."""
    retry: RetryConfig = RetryConfig()
    rate_limit: Throttle | None = None


class HttpDestination(_Destination):
    """A webhook that takes relay's own JSON."""

    type: Literal["http"] = "http"
    url: WebhookUrl
    format: Literal["json"] = "json"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)

    @field_validator("headers")
    @classmethod
    def _distinct(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        checks.distinct_headers(value)
        return value

    @field_validator("headers")
    @classmethod
    def _one_authorization(
        cls, value: dict[str, SecretStr], info: ValidationInfo
    ) -> dict[str, SecretStr]:
        url = info.data.get("url")
        authorized = any(name.lower() == "authorization" for name in value)
        if url and authorized and checks.has_user(url.get_secret_value()):
            raise whole("hold an Authorization, and the 'url' a user: keep one of them")
        return value


class SlackDestination(_Destination):
    """A Slack incoming webhook."""

    type: Literal["slack"] = "slack"
    url: WebhookUrl


class ConsoleDestination(_Destination):
    """Standard output."""

    type: Literal["console"] = "console"


Destination = HttpDestination | SlackDestination | ConsoleDestination


class IncludeConfig(_Model):
    """What is told of a container beside the event."""

    logs: Annotated[WholeNumber, Field(ge=0, le=200)] = 0
    """How many of its last log lines."""
    health: bool = False
    """What its last health check printed."""
    inspect: Annotated[tuple[InspectField, ...], BeforeValidator(one_as_list)] = ()
    """Fields of the engine's ``inspect``, as dotted paths."""

    @field_validator("inspect")
    @classmethod
    def _not_too_many(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > checks.INSPECT_FIELDS:
            raise whole(f"names more than {checks.INSPECT_FIELDS} fields")
        return value

    @property
    def wanted(self) -> Include | None:
        """What to ask the engine for; None for nothing."""
        wanted = Include(self.logs, self.health, self.inspect)
        return None if wanted == Include() else wanted


class Route(_Model):
    """What to match, and where it goes."""

    name: Name
    match: Annotated[Match, PlainValidator(_match)] = Match()
    drop: bool = False
    """Ends the walk and sends nothing."""
    stop: bool = False
    """Ends the walk after this route."""
    include: IncludeConfig = IncludeConfig()
    to: Annotated[tuple[str, ...], BeforeValidator(one_as_list)] = Field(
        default=(), validate_default=True
    )

    @field_validator("stop")
    @classmethod
    def _not_with_drop(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("drop"):
            raise whole("'drop' ends the walk already: remove 'stop'")
        return value

    @field_validator("include")
    @classmethod
    def _nothing_with_drop(cls, value: IncludeConfig, info: ValidationInfo) -> IncludeConfig:
        if info.data.get("drop"):
            raise whole("'drop' sends nothing: remove 'include'")
        return value

    @field_validator("to")
    @classmethod
    def _goes_somewhere(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        drop = info.data.get("drop")
        if drop and value:
            raise whole("'drop' and 'to' exclude each other: keep one")
        if drop is False and not value:
            raise whole("needs 'to': one destination or a list of them (or 'drop: true')")
        _check_destinations(value, _names(info))
        return value


def _check_destinations(to: tuple[str, ...], names: Names) -> None:
    known = names.destinations
    if known is None:
        return
    unknown = [
        Mistake((index,), f"is not a destination{did_you_mean(name, known)}", About.VALUE)
        for index, name in enumerate(to)
        if name not in known
    ]
    if unknown:
        raise Mistakes(unknown)


class Config(_Model):
    """All of it."""

    engines: dict[Name, Annotated[EngineConfig, BeforeValidator(_nothing_as_empty)]] = Field(
        default_factory=lambda: {LOCAL: EngineConfig()}, min_length=1
    )
    ingest: IngestConfig = IngestConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    store: StoreConfig = StoreConfig()
    admin: AdminConfig | None = None
    """None for nowhere."""
    destinations: dict[Name, Annotated[Destination, Field(discriminator="type")]] = Field(
        min_length=1
    )
    routes: tuple[Route, ...] = Field(min_length=1)
    """From top to bottom."""

    @field_validator("admin", mode="before")
    @classmethod
    def _somewhere(cls, value: object) -> object:
        if value is None:
            raise whole("is empty: write {listen: HOST:PORT}, or remove it")
        return value
