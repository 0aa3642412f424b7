"""The configuration: what can be set, and what it is when it is not.

What is wrong with one value is a `ValueError` or `InvalidValue` of its validator; `problems` puts
that into words and `load` says where it stands. A rule about two values belongs to the later
of them, so that it is checked whatever else is wrong.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

from relay.config import schema_types, validators
from relay.config.common import DestinationConfig, Section, TlsConfig
from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, did_you_mean, invalid
from relay.config.match import Match
from relay.config.match_parser import parse_match
from relay.config.references import DEFAULT_ENGINE, KnownNames
from relay.config.types import (
    BufferSize,
    EngineUrl,
    HeartbeatInterval,
    InspectField,
    ListenAddress,
    MaxAge,
    Name,
    NonEmptyPath,
    ReconcileInterval,
    Secret,
    StartPosition,
    StoreSize,
    TemplateText,
    WhenFull,
    WholeNumber,
    as_list,
)
from relay.core.notification import Include, Severity

if TYPE_CHECKING:
    # until callers take a `DestinationConfig`
    from relay.config.destinations import Destination
else:
    Destination = DestinationConfig


def _to_match(value: object, info: ValidationInfo) -> Match:
    if isinstance(value, Match):
        return value
    return parse_match(value, engines=_known_names(info).engines)


def _known_names(info: ValidationInfo) -> KnownNames:
    return info.context if isinstance(info.context, KnownNames) else KnownNames()


def _none_as_empty(value: object) -> object:
    return {} if value is None else value


class EngineConfig(Section):
    """One Docker API; with nothing set, the one that the docker CLI would take."""

    schema_rules = (schema_types.not_both("url", "context"),)

    url: EngineUrl | None = None
    """``unix:///run/docker.sock``, ``tcp://HOST:2376``, ``http://HOST``, ``https://HOST`` or
    ``ssh://USER@HOST``; without it and ``context`` what the docker command would take."""
    context: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """A docker context, in place of ``url``."""
    host: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """The name that people know it by; without it the engine's own or, where a socket proxy
    withholds that, the name that it has here."""
    tls: TlsConfig | None = None
    """For a ``tcp://`` or ``https://`` URL."""
    start_from: StartPosition = "now"
    """Where the very first start begins: ``now``, ``oldest`` (all that the engine remembers), or a
    duration before now."""

    @field_validator("context")
    @classmethod
    def _check_url_or_context(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("url") is not None:
            raise invalid("'url' and 'context' exclude each other: keep one")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls_url(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        # "url" is absent here if it is wrong itself
        url = info.data.get("url", "tcp:")
        if value is not None and not (url or "").startswith(("tcp:", "https:")):
            raise invalid("is for a tcp:// or https:// 'url' only")
        return value


class IngestConfig(Section):
    """What stands between the engines and the store."""

    buffer: BufferSize = 64 * 2**20
    """How much memory each engine's stream may take while it waits, at 128 bytes a record beside
    its content: from 64KiB to 64GiB. What waits behind the first 4 MiB is packed, and counts as
    what it takes then: mostly a fifth or less. What comes beyond it is dropped and declared."""


class ReconcileConfig(Section):
    """When an engine's containers are compared with what its events told."""

    every: ReconcileInterval = timedelta(minutes=5)
    """How often, beside reconnects and losses: at least 10s, or 0s for never."""
    on_reconnect: bool = True
    """Also whenever a stream was opened."""


class DeadLettersConfig(Section):
    """How long what was given up is kept."""

    max_age: MaxAge = timedelta(days=30)
    """How long each is kept: at least 1m. Looked at once a minute."""
    max_count: Annotated[WholeNumber, Field(ge=0, le=1_000_000)] = 10_000
    """How many are kept. The oldest go first."""


class StoreConfig(Section):
    """Where deliveries are kept, and how many."""

    path: NonEmptyPath | None = None
    """The SQLite file; without it ``relay.db`` in the state folder, which is ``$STATE_DIRECTORY``
    (set by systemd), else ``$XDG_STATE_HOME/relay``, else ``~/.local/state/relay``. One relay at a
    time may use it."""
    max_size: StoreSize = 2**30
    """How much it may hold: from 1MiB to 1024GiB."""
    when_full: WhenFull = "drop-oldest"
    """What is given up beyond ``max_size``, once no dead letter is left: the deliveries that have
    waited longest, or those that come, except relay's own."""
    dead_letters: DeadLettersConfig = DeadLettersConfig()


class AdminConfig(Section):
    """Where relay answers questions about itself, and does what commands ask."""

    listen: ListenAddress
    """``HOST:PORT``, or ``unix:/PATH`` for a socket that only the user who runs relay can open."""
    token: Annotated[Secret, AfterValidator(validators.check_admin_token)] | None = None
    """What whoever asks has to show: as ``Authorization: Bearer TOKEN``."""

    @field_validator("token", mode="before")
    @classmethod
    def _check_token_not_empty(cls, value: object) -> object:
        if value is None:  # it is not to be taken for none at all
            raise invalid("is empty: write a value, or remove it")
        return value


class HeartbeatConfig(Section):
    """When relay tells that it lives."""

    every: HeartbeatInterval
    """How often, beginning at the start: at least 10s."""


class IncludeConfig(Section):
    """What is told of a container beside the event."""

    logs: Annotated[WholeNumber, Field(ge=0, le=200)] = 0
    """How many of its last log lines; the last 4 KiB of them."""
    health: bool = False
    """What its last health check printed; the last 4 KiB of it."""
    inspect: Annotated[tuple[InspectField, ...], BeforeValidator(as_list)] = ()
    """Fields of ``docker inspect``, at most 20, each by its path: ``RestartCount``, ``State.Pid``;
    1 KiB of each."""

    @field_validator("inspect")
    @classmethod
    def _check_field_count(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > validators.MAX_INSPECT_FIELDS:
            raise invalid(f"names more than {validators.MAX_INSPECT_FIELDS} fields")
        return value

    @property
    def request(self) -> Include | None:
        """What to ask the engine for; None for nothing."""
        wanted = Include(self.logs, self.health, self.inspect)
        return None if wanted == Include() else wanted


class Route(Section):
    """What to match, and where it goes."""

    schema_rules = (
        schema_types.if_equals(
            "drop",
            True,
            schema_types.forbid("to", "stop", "include", "severity", "title", "text"),
        ),
        {"anyOf": [{"required": ["to"]}, {"required": ["drop"]}]},
        schema_types.if_equals("drop", False, {"required": ["to"]}),
    )

    name: Name
    """Each route has one of its own."""
    match: Annotated[Match, PlainValidator(_to_match)] = Match()
    """What it takes; without it all but relay's own events."""
    drop: bool = False
    """The walk ends here if it matches, and nothing is sent: in place of ``to``."""
    stop: bool = False
    """The walk ends here if it matches."""
    include: IncludeConfig = IncludeConfig()
    severity: Severity | None = None
    """Without it ``critical``: out of memory, crashed, unhealthy, ``gap``, ``engine_lost``,
    ``destination_failing``; ``warning``: ``kill``, a death of unknown cause, ``dead_letter``; and
    ``info``: all else."""
    title: TemplateText | None = None
    """A template for the headline in chats, on phones and in alerts, in place of the
    destination's."""
    text: TemplateText | None = None
    """A template for what stands below it, likewise."""
    to: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        default=(), validate_default=True
    )
    """Destinations, unless there is ``drop``. An event goes to each of them once, by the first
    route that sends it there."""

    @field_validator("stop")
    @classmethod
    def _check_stop_without_drop(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("drop"):
            raise invalid("'drop' ends the walk already: remove 'stop'")
        return value

    @field_validator("include")
    @classmethod
    def _check_include_without_drop(
        cls, value: IncludeConfig, info: ValidationInfo
    ) -> IncludeConfig:
        if info.data.get("drop"):
            raise invalid("'drop' sends nothing: remove 'include'")
        return value

    @field_validator("severity", "title", "text")
    @classmethod
    def _check_texts_without_drop(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("drop"):
            raise invalid(f"'drop' sends nothing: remove '{info.field_name}'")
        return value

    @field_validator("to")
    @classmethod
    def _check_to_or_drop(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        drop = info.data.get("drop")
        if drop and value:
            raise invalid("'drop' and 'to' exclude each other: keep one")
        if drop is False and not value:
            raise invalid("needs 'to': one destination or a list of them (or 'drop: true')")
        _check_known_destinations(value, _known_names(info))
        return value


def _check_known_destinations(to: tuple[str, ...], names: KnownNames) -> None:
    known = names.destinations
    if known is None:
        return
    unknown = [
        ConfigIssue((index,), f"is not a destination{did_you_mean(name, known)}", IssueScope.VALUE)
        for index, name in enumerate(to)
        if name not in known
    ]
    if unknown:
        raise InvalidValue(unknown)


class Config(Section):
    """What is listened to, where it goes, and which events go there."""

    engines: dict[Name, Annotated[EngineConfig, BeforeValidator(_none_as_empty)]] = Field(
        default_factory=lambda: {DEFAULT_ENGINE: EngineConfig()}, min_length=1
    )
    """What is listened to, by name; without it one engine, ``local``, found as the docker command
    finds it. A new name is a new engine: its stream is taken in anew."""
    ingest: IngestConfig = IngestConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    store: StoreConfig = StoreConfig()
    admin: AdminConfig | None = None
    """Where relay answers questions about itself; without it nowhere."""
    heartbeat: HeartbeatConfig | None = None
    """When relay tells that it lives; without it never."""
    destinations: dict[Name, Destination] = Field(min_length=1)
    """Where it goes, by name; each has a ``type``."""
    routes: tuple[Route, ...] = Field(min_length=1)
    """What to match and where it goes, tried from top to bottom; every one that matches fires."""

    @field_validator("admin", mode="before")
    @classmethod
    def _check_admin_not_empty(cls, value: object) -> object:
        if value is None:
            raise invalid("is empty: write {listen: HOST:PORT}, or remove it")
        return value

    @field_validator("heartbeat", mode="before")
    @classmethod
    def _check_heartbeat_not_empty(cls, value: object) -> object:
        if value is None:
            raise invalid("is empty: write {every: 1m}, or remove it")
        return value
