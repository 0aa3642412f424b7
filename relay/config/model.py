"""The configuration: what can be set, and what it is when it is not.

What is wrong with one value is a `ValueError` or `Mistakes` of its validator; `problems` puts
that into words and `load` says where it stands. A rule about two values belongs to the later
of them, so that it is checked whatever else is wrong.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

from relay.config import checks
from relay.config.destinations import Destination
from relay.config.match import Match
from relay.config.match_reader import parse_match
from relay.config.mistakes import About, Mistake, Mistakes, did_you_mean, whole
from relay.config.references import LOCAL, Names
from relay.config.section import Section, TlsConfig
from relay.config.values import (
    Age,
    Beat,
    BufferSize,
    EngineUrl,
    InspectField,
    Interval,
    Listening,
    Location,
    Name,
    Secret,
    Start,
    StoreSize,
    TemplateText,
    WhenFull,
    WholeNumber,
    one_as_list,
)
from relay.notification import Include, Severity


def _match(value: object, info: ValidationInfo) -> Match:
    if isinstance(value, Match):
        return value
    return parse_match(value, engines=_names(info).engines)


def _names(info: ValidationInfo) -> Names:
    return info.context if isinstance(info.context, Names) else Names()


def _nothing_as_empty(value: object) -> object:
    return {} if value is None else value


class EngineConfig(Section):
    """One Docker API; with nothing set, the one that the docker CLI would take."""

    url: EngineUrl | None = None
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


class IngestConfig(Section):
    """What stands between the engines and the store."""

    buffer: BufferSize = 64 * 2**20
    """How much of the engines' streams may wait in memory, in bytes."""


class ReconcileConfig(Section):
    """When an engine's containers are compared with what its events told."""

    every: Interval = timedelta(minutes=5)
    """Zero for never but after a reconnect and a loss."""
    on_reconnect: bool = True


class DeadLettersConfig(Section):
    """How long what was given up is kept."""

    max_age: Age = timedelta(days=30)
    max_count: Annotated[WholeNumber, Field(ge=0, le=1_000_000)] = 10_000
    """The oldest go first."""


class StoreConfig(Section):
    """Where deliveries are kept, and how many."""

    path: Location | None = None
    """None for relay.db in the state folder."""
    max_size: StoreSize = 2**30
    """How much it may hold, in bytes."""
    when_full: WhenFull = "drop-oldest"
    dead_letters: DeadLettersConfig = DeadLettersConfig()


class AdminConfig(Section):
    """Where relay answers questions about itself, and does what commands ask."""

    listen: Listening
    token: Annotated[Secret, AfterValidator(checks.admin_token)] | None = None
    """What whoever asks has to show: as ``Authorization: Bearer TOKEN``."""

    @field_validator("token", mode="before")
    @classmethod
    def _not_forgotten(cls, value: object) -> object:
        if value is None:  # it is not to be taken for none at all
            raise whole("is empty: write a value, or remove it")
        return value


class HeartbeatConfig(Section):
    """When relay tells that it lives."""

    every: Beat


class IncludeConfig(Section):
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


class Route(Section):
    """What to match, and where it goes."""

    name: Name
    match: Annotated[Match, PlainValidator(_match)] = Match()
    drop: bool = False
    """Ends the walk and sends nothing."""
    stop: bool = False
    """Ends the walk after this route."""
    include: IncludeConfig = IncludeConfig()
    severity: Severity | None = None
    """In place of what action and cause make of it."""
    title: TemplateText | None = None
    """The headline in chats, in place of the destination's."""
    text: TemplateText | None = None
    """What stands below it, likewise."""
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

    @field_validator("severity", "title", "text")
    @classmethod
    def _unsaid_with_drop(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("drop"):
            raise whole(f"'drop' sends nothing: remove '{info.field_name}'")
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


class Config(Section):
    """All of it."""

    engines: dict[Name, Annotated[EngineConfig, BeforeValidator(_nothing_as_empty)]] = Field(
        default_factory=lambda: {LOCAL: EngineConfig()}, min_length=1
    )
    ingest: IngestConfig = IngestConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    store: StoreConfig = StoreConfig()
    admin: AdminConfig | None = None
    """None for nowhere."""
    heartbeat: HeartbeatConfig | None = None
    """None for never."""
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

    @field_validator("heartbeat", mode="before")
    @classmethod
    def _sometime(cls, value: object) -> object:
        if value is None:
            raise whole("is empty: write {every: 1m}, or remove it")
        return value
