"""The configuration: a YAML file to a checked `Config`, or to every problem in it at once."""

from relay.config.listening import TcpPort, UnixSocket
from relay.config.load import default, load, parse
from relay.config.match import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.config.model import (
    AdminConfig,
    Config,
    ConsoleDestination,
    Destination,
    EngineConfig,
    HttpDestination,
    IncludeConfig,
    IngestConfig,
    ReconcileConfig,
    RetryConfig,
    Route,
    SlackDestination,
    StoreConfig,
    TlsConfig,
)
from relay.config.units import Rate
from relay.config.values import StartFrom, WhenFull

__all__ = [
    "AdminConfig",
    "Config",
    "ConsoleDestination",
    "Destination",
    "EngineConfig",
    "Exists",
    "Field",
    "Glob",
    "HttpDestination",
    "IncludeConfig",
    "IngestConfig",
    "Match",
    "Not",
    "Pattern",
    "Range",
    "Rate",
    "ReconcileConfig",
    "Regex",
    "RetryConfig",
    "Route",
    "SlackDestination",
    "StartFrom",
    "StoreConfig",
    "TcpPort",
    "TlsConfig",
    "UnixSocket",
    "WhenFull",
    "default",
    "load",
    "parse",
]
