"""The model of the configuration: every key, its default and its rules.

A validator reports an invalid value as `ValueError` or `InvalidValue`; `messages` turns that into
issues, and `load` adds the position in the file. A rule about two keys is a validator of the later
key, so that it is checked even if other keys are wrong. The docstring of a key is its description
in `relay schema` and in docs/reference.md.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field, ValidationInfo, field_validator

from relay.config import types, validators
from relay.config.destination import DestinationConfig
from relay.config.engine import DockerEngineConfig, EngineConfig
from relay.config.errors import invalid
from relay.config.mute_times import MuteTimeIntervals
from relay.config.route import Route
from relay.config.section import Section
from relay.config.types import (
    BufferSize,
    HeartbeatInterval,
    ListenAddress,
    LogLevel,
    MaxAge,
    Name,
    NonEmptyPath,
    ReconcileInterval,
    Secret,
    StoreSize,
    TimeZoneName,
    WhenFull,
    WholeNumber,
)
from relay.core.event import DEFAULT_ENGINE, RELAY_ENGINE
from relay.core.zone import UTC_NAME

if TYPE_CHECKING:
    from relay.config.nats_engine import NatsEngineConfig


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


def _local_engine() -> dict[str, EngineConfig]:
    return {DEFAULT_ENGINE: DockerEngineConfig()}


class Config(Section):
    """The engines to listen to, the destinations, and the routes between them."""

    engines: dict[Name, EngineConfig] = Field(default_factory=_local_engine, min_length=1)
    """Where events come from, by name: each is of ``type: docker`` (the default) or ``type:
    nats``. Default: one engine, ``local``, found as the docker command finds it. A renamed engine
    is a new engine: its stream starts again at ``start_from``."""
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
    def docker_engines(self) -> dict[str, DockerEngineConfig]:
        """The engines that are Docker APIs, by name."""
        return {
            name: engine
            for name, engine in self.engines.items()
            if isinstance(engine, DockerEngineConfig)
        }

    @property
    def nats_engines(self) -> "dict[str, NatsEngineConfig]":
        """The engines that are streams of NATS, by name."""
        return {
            name: cast("NatsEngineConfig", engine)
            for name, engine in self.engines.items()
            if engine.type == "nats"
        }

    @property
    def is_hub(self) -> bool:
        """Whether relay also gets events that relays on other hosts have taken in."""
        return bool(self.nats_engines)

    @property
    def usual_engine(self) -> str:
        """The name that an event's engine probably has: that of the first Docker API, or what other
        hosts call theirs."""
        return next(iter(self.docker_engines), DEFAULT_ENGINE)

    @property
    def known_engines(self) -> Collection[str] | None:
        """The names that the engine of an event can have; None at a hub, which does not know."""
        return None if self.is_hub else {*self.engines, RELAY_ENGINE}

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
