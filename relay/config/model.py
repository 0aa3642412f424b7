"""The model of the configuration: every key, its default and its rules.

A validator reports an invalid value as `ValueError` or `InvalidValue`; `messages` turns that into
issues, and `load` adds the position in the file. A rule about two keys is a validator of the later
key, so that it is checked even if other keys are wrong. The docstring of a key is its description
in `relay schema` and in docs/reference.md.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from relay.config import types, validators
from relay.config.destination import DestinationConfig, TlsConfig
from relay.config.errors import invalid
from relay.config.incident_keys import (
    LIFE_FIELDS,
    LIFE_KEYS,
    For,
    ResolveAfter,
    check_wants_incidents,
)
from relay.config.known_names import check_known, get_known_names
from relay.config.match import Match
from relay.config.match_parser import parse_match
from relay.config.mute_times import Mute, MuteTimeIntervals
from relay.config.types import (
    BufferSize,
    EngineUrl,
    HeaderName,
    HeartbeatInterval,
    InspectField,
    LinkText,
    ListenAddress,
    LogLevel,
    MaxAge,
    Name,
    NonEmptyPath,
    PlainHeaderValue,
    ReconcileInterval,
    Secret,
    Section,
    StartPosition,
    StoreSize,
    TemplateText,
    TimeZoneName,
    WhenFull,
    WholeNumber,
    as_list,
)
from relay.core.event import DEFAULT_ENGINE
from relay.core.incident import Notify
from relay.core.include import Include
from relay.core.severity import Severity
from relay.core.zone import UTC_NAME


def _to_match(value: object, info: ValidationInfo) -> Match:
    if isinstance(value, Match):
        return value
    return parse_match(value, engines=get_known_names(info).engines)


def _has_authorization(headers: Mapping[str, object]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def _has_user(info: ValidationInfo) -> bool:
    """Whether the engine's URL holds a user for its HTTP requests, and not one for ssh."""
    url = info.data.get("url") or ""
    return url.startswith(("tcp:", "http:", "https:")) and validators.has_user(url)


class EngineConfig(Section):
    """A Docker API. Without any key: the one that the docker command would use."""

    schema_rules = (types.not_both("url", "context"),)

    url: EngineUrl | None = None
    """``unix:///run/docker.sock``, ``tcp://HOST:2376``, ``http://HOST``, ``https://HOST`` or
    ``ssh://USER@HOST``. Without it and ``context``: what the docker command would use."""
    context: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """A docker context, instead of ``url``."""
    host: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """The host name to show. Default: the one that the engine reports or, if a socket proxy hides
    that, the engine's name in this file."""
    tls: TlsConfig | None = None
    """For a ``tcp://`` or ``https://`` URL."""
    headers: dict[HeaderName, PlainHeaderValue] = Field(default_factory=dict)
    """Headers that a proxy before the engine wants with each request. ``NAME_file`` names a file
    with the value."""
    bearer_token_file: NonEmptyPath | None = None
    """A file with a token, sent as ``Authorization: Bearer``. It is read at each connection, so a
    renewed token needs no reload."""
    start_from: StartPosition = "now"
    """Where the very first start begins: ``now``, ``oldest`` (everything that the engine
    remembers), or a duration before now."""

    @field_validator("context")
    @classmethod
    def _check_url_or_context(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("url") is not None:
            raise invalid("'url' and 'context' exclude each other: keep one")
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(
        cls, value: dict[str, SecretStr], info: ValidationInfo
    ) -> dict[str, SecretStr]:
        validators.check_distinct_headers(value)
        if _has_authorization(value) and _has_user(info):
            raise invalid("hold an Authorization, and the 'url' holds a user: keep one of them")
        return value

    @field_validator("bearer_token_file")
    @classmethod
    def _check_one_authorization(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and _has_authorization(info.data.get("headers") or {}):
            raise invalid("there is an Authorization in 'headers' as well: keep one of them")
        if value is not None and _has_user(info):
            raise invalid("there is a user in the 'url' as well: keep one of them")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls_url(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        # "url" is missing here if it is invalid itself
        url = info.data.get("url", "tcp:")
        if value is not None and not (url or "").startswith(("tcp:", "https:")):
            raise invalid("is for a tcp:// or https:// 'url' only")
        return value


class IngestConfig(Section):
    """How events are buffered between the engines and the store."""

    buffer: BufferSize = 64 * 2**20
    """The memory for each engine's events that wait for the store, from 64KiB to 64GiB. An event
    counts as its size plus 128 bytes. Events behind the first 4 MiB are compressed, those longer
    than 64 KiB behind the first 8 MiB, and count with their compressed size: mostly a fifth or
    less. When the buffer is full, events are dropped, and a ``gap`` event reports that."""


class ReconcileConfig(Section):
    """When the state of an engine's containers is compared with its events."""

    every: ReconcileInterval = timedelta(minutes=5)
    """How often, besides reconnects and losses: at least 10s, or 0s for never."""
    on_reconnect: bool = True
    """Also each time that a stream has been opened."""


class DeadLettersConfig(Section):
    """How long dead letters (deliveries that were given up) are kept."""

    max_age: MaxAge = timedelta(days=30)
    """How long each is kept: at least 1m. Checked once a minute."""
    max_count: Annotated[WholeNumber, Field(ge=0, le=1_000_000)] = 10_000
    """How many are kept. The oldest are deleted first."""


class StoreConfig(Section):
    """Where deliveries are stored, and how many."""

    path: NonEmptyPath | None = None
    """The SQLite file. Default: ``relay.db`` in the state folder, which is ``$STATE_DIRECTORY``
    (set by systemd), else ``$XDG_STATE_HOME/relay``, else ``~/.local/state/relay``. Only one relay
    at a time may use it."""
    max_size: StoreSize = 2**30
    """How large the store may become: from 1MiB to 1024GiB."""
    when_full: WhenFull = "drop-oldest"
    """What is given up when ``max_size`` is reached and no dead letters are left to delete: the
    deliveries that have waited longest, or the new ones except those of relay's own events."""
    dead_letters: DeadLettersConfig = DeadLettersConfig()


class AdminConfig(Section):
    """The HTTP interface, for status, metrics and relay's commands."""

    listen: ListenAddress
    """``HOST:PORT``, or ``unix:/PATH`` for a socket that only the user who runs relay can open."""
    token: Annotated[Secret, types.check_content(validators.check_admin_token)] | None = None
    """The token that requests must send as ``Authorization: Bearer TOKEN``."""

    @field_validator("token", mode="before")
    @classmethod
    def _check_token_not_empty(cls, value: object) -> object:
        if value is None:  # an empty token must not mean "no token needed"
            raise invalid("is empty: write a value, or remove it")
        return value


class HeartbeatConfig(Section):
    """How often relay sends a heartbeat event."""

    every: HeartbeatInterval
    """The interval, beginning at the start: at least 10s."""


class LogConfig(Section):
    """What relay writes to its log, on standard error."""

    level: LogLevel = "info"
    """The least important lines to write. ``debug`` adds each delivery that succeeds at its first
    attempt, and what the libraries say. ``relay run --debug`` overrides it."""


class IncludeConfig(Section):
    """What is sent about the container in addition to the event."""

    logs: Annotated[WholeNumber, Field(ge=0, le=200)] = 0
    """How many of its last log lines; at most the last 4 KiB of them. With ``die``, ``oom`` and
    ``stop`` the last before that, even if the container has started again."""
    health: bool = False
    """The output of its last health check; at most the last 4 KiB of it."""
    inspect: Annotated[tuple[InspectField, ...], BeforeValidator(as_list)] = ()
    """Fields of ``docker inspect``, at most 20, each by its path: ``RestartCount``, ``State.Pid``;
    at most 1 KiB of each."""

    @field_validator("inspect")
    @classmethod
    def _check_field_count(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > validators.MAX_INSPECT_FIELDS:
            raise invalid(f"names more than {validators.MAX_INSPECT_FIELDS} fields")
        return value

    @cached_property
    def request(self) -> Include | None:
        """What to ask the engine for; None if nothing is included."""
        wanted = Include(self.logs, self.health, self.inspect)
        return None if wanted == Include() else wanted


class LabelsConfig(Section):
    """Whether containers decide by a label of their own if people are notified of them."""

    enable: bool = True
    """Whether the label ``relay.enable`` counts. With its value ``false``, people are not notified
    of the container."""
    require: bool = False
    """Whether people are notified only of containers whose label ``relay.enable`` is ``true``."""

    @field_validator("require")
    @classmethod
    def _check_labels_count(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("enable") is False:
            raise invalid("with 'enable: false' no label counts: keep one of 'enable', 'require'")
        return value


class Route(Section):
    """Which events to match, and where to send them."""

    schema_rules = (
        types.if_equals(
            "drop",
            True,
            types.forbid(
                *("to", "stop", "include", "severity", "title", "text", "link", "notify"),
                *LIFE_KEYS,
            ),
        ),
        types.if_equals("notify", Notify.EVENTS.value, types.forbid(*LIFE_KEYS)),
        {"anyOf": [{"required": ["to"]}, {"required": ["drop"]}]},
        types.if_equals("drop", False, {"required": ["to"]}),
    )

    name: Name
    """The name of the route; no two routes have the same."""
    match: Annotated[Match, PlainValidator(_to_match)] = Match()
    """Which events match. Default: all except relay's own."""
    drop: bool = False
    """Instead of ``to``: send nothing for events that match, and skip the routes below."""
    stop: bool = False
    """Skip the routes below for events that match."""
    include: IncludeConfig = IncludeConfig()
    severity: Severity | None = None
    """Default: ``critical`` for out of memory, crashed, unhealthy, ``gap``, ``engine_lost`` and
    ``destination_failing``; ``warning`` for ``kill``, a death of unknown cause, ``dead_letter``, a
    node that is down and a service that has no replicas or whose update is paused or rolled back;
    ``info`` for everything else."""
    title: TemplateText | None = None
    """A template for the headline in chats, on phones and in alerts, instead of the
    destination's."""
    text: TemplateText | None = None
    """A template for the text below the headline, instead of the destination's."""
    link: LinkText | None = None
    """A template for the link of a message, instead of the destination's; ``""`` for none."""
    notify: Notify | None = None
    """What its destinations are notified of: ``incidents`` or ``events``, instead of what each of
    them says."""
    for_: For | None = Field(default=None, alias="for")
    """How long an incident has to be open before it is reported, instead of what the destination
    says: at most 7d, and longer than ``resolve_after``. With a second route to another destination
    it is an escalation."""
    mute: Mute | None = None
    """When its destinations are not notified, instead of what they say: the name of one of the
    ``mute_time_intervals``, or a list of such; ``[]`` for never."""
    resolve_after: ResolveAfter | None = None
    """How long a container has to be well before its incident is resolved, instead of what the
    destination says: from 1s to 24h."""
    send_resolved: bool | None = None
    """Whether the end of an incident is reported, instead of what the destination says."""
    to: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        default=(), validate_default=True
    )
    """The destinations; required without ``drop``. An event is sent to each destination once, by
    the first matching route that names it."""

    @field_validator("stop")
    @classmethod
    def _check_stop_without_drop(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("drop"):
            raise invalid("'drop' already skips the routes below: remove 'stop'")
        return value

    @field_validator("include")
    @classmethod
    def _check_include_without_drop(
        cls, value: IncludeConfig, info: ValidationInfo
    ) -> IncludeConfig:
        if info.data.get("drop"):
            raise invalid("'drop' sends nothing: remove 'include'")
        return value

    @field_validator("severity", "title", "text", "link", "notify", *LIFE_FIELDS)
    @classmethod
    def _check_without_drop(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("drop"):
            raise invalid(f"'drop' sends nothing: remove '{types.get_key(info)}'")
        return value

    @field_validator(*LIFE_FIELDS)
    @classmethod
    def _check_wants_incidents(cls, value: object, info: ValidationInfo) -> object:
        return check_wants_incidents(value, info)

    @field_validator("to")
    @classmethod
    def _check_to_or_drop(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        drop = info.data.get("drop")
        if drop and value:
            raise invalid("'drop' and 'to' exclude each other: keep one")
        if drop is False and not value:
            raise invalid("needs 'to': one destination or a list of them (or 'drop: true')")
        return value

    @field_validator("to")
    @classmethod
    def _check_destinations_exist(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        return check_known(value, get_known_names(info).destinations, "is not a destination")


class Config(Section):
    """The engines to listen to, the destinations, and the routes between them."""

    engines: dict[
        Name,
        Annotated[EngineConfig, BeforeValidator(lambda value: {} if value is None else value)],
    ] = Field(default_factory=lambda: {DEFAULT_ENGINE: EngineConfig()}, min_length=1)
    """The engines to listen to, by name. Default: one engine, ``local``, found as the docker
    command finds it. A renamed engine is a new engine: its stream starts again at
    ``start_from``."""
    ingest: IngestConfig = IngestConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    store: StoreConfig = StoreConfig()
    admin: AdminConfig | None = None
    """The HTTP interface, for status, metrics and relay's commands. Default: none."""
    heartbeat: HeartbeatConfig | None = None
    """How often relay sends a heartbeat event. Default: never."""
    log: LogConfig = LogConfig()
    time_zone: TimeZoneName = UTC_NAME
    """The time zone of all times that people read or write: in messages, on the command line and
    in templates. Its name in the IANA database, as in ``Europe/Berlin``. Payloads for programs, the
    API, logs and metrics stay in UTC."""
    labels: LabelsConfig = LabelsConfig()
    mute_time_intervals: MuteTimeIntervals = Field(default_factory=dict)
    """Times of the week at which nobody is notified, by the names that ``mute`` refers to. Each is
    a list; it is in force if one of its entries is."""
    destinations: dict[Name, DestinationConfig] = Field(min_length=1)
    """Where notifications are sent, by name; each destination has a ``type``."""
    routes: tuple[Route, ...] = Field(min_length=1)
    """The routes, tried from top to bottom. Every matching route applies."""

    @property
    def unordered(self) -> list[str]:
        """The destinations with ``ordering: none``."""
        return [name for name, to in self.destinations.items() if to.ordering == "none"]

    @field_validator("admin", "heartbeat", mode="before")
    @classmethod
    def _check_not_empty(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            example = "{listen: HOST:PORT}" if info.field_name == "admin" else "{every: 1m}"
            raise invalid(f"is empty: write {example}, or remove it")
        return value
