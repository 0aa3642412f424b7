"""The configuration: a YAML file to a checked `Config`, or to every problem in it at once."""

from relay.config.load import default, load, parse
from relay.config.match import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.config.model import (
    Config,
    ConsoleDestination,
    Destination,
    EngineConfig,
    HttpDestination,
    IngestConfig,
    RetryConfig,
    Route,
    SlackDestination,
    StartFrom,
    StoreConfig,
    TlsConfig,
)
from relay.config.units import Rate

__all__ = [
    "Config",
    "ConsoleDestination",
    "Destination",
    "EngineConfig",
    "Exists",
    "Field",
    "Glob",
    "HttpDestination",
    "IngestConfig",
    "Match",
    "Not",
    "Pattern",
    "Range",
    "Rate",
    "Regex",
    "RetryConfig",
    "Route",
    "SlackDestination",
    "StartFrom",
    "StoreConfig",
    "TlsConfig",
    "default",
    "load",
    "parse",
]
