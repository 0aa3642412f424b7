"""The configuration: reads a YAML file into a checked `Config`, or reports every problem in it."""

from relay.config.address import TcpPort, UnixSocket
from relay.config.destination import (
    BatchConfig,
    DestinationConfig,
    OnTemplateError,
    Renderer,
    RetryConfig,
    TimeoutConfig,
    TlsConfig,
)
from relay.config.destination_types import DestinationTypes
from relay.config.engine import DockerEngineConfig, EngineConfig
from relay.config.load import (
    ConfigOutline,
    LocatedConfig,
    default,
    load,
    load_located,
    parse,
    read_outline,
)
from relay.config.match import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.config.model import (
    AdminConfig,
    Config,
    DeadLettersConfig,
    HeartbeatConfig,
    IngestConfig,
    LogConfig,
    ReconcileConfig,
    StoreConfig,
)
from relay.config.origin import ConfigOrigin, OriginKind, find_origin
from relay.config.route import IncludeConfig, Route
from relay.config.types import LogLevel, Rate, StartFrom, WhenFull

__all__ = [
    "AdminConfig",
    "BatchConfig",
    "Config",
    "ConfigOrigin",
    "ConfigOutline",
    "DeadLettersConfig",
    "DestinationConfig",
    "DestinationTypes",
    "DockerEngineConfig",
    "EngineConfig",
    "Exists",
    "Field",
    "Glob",
    "HeartbeatConfig",
    "IncludeConfig",
    "IngestConfig",
    "LocatedConfig",
    "LogConfig",
    "LogLevel",
    "Match",
    "Not",
    "OnTemplateError",
    "OriginKind",
    "Pattern",
    "Range",
    "Rate",
    "ReconcileConfig",
    "Regex",
    "Renderer",
    "RetryConfig",
    "Route",
    "StartFrom",
    "StoreConfig",
    "TcpPort",
    "TimeoutConfig",
    "TlsConfig",
    "UnixSocket",
    "WhenFull",
    "default",
    "find_origin",
    "load",
    "load_located",
    "parse",
    "read_outline",
]
