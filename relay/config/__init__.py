"""The configuration: a YAML file to a checked `Config`, or to every problem in it at once."""

from relay.config.attempts import RetryConfig, TimeoutConfig
from relay.config.batch import BatchConfig
from relay.config.destinations import (
    AlertmanagerDestination,
    BasicAuth,
    ConsoleDestination,
    Destination,
    DiscordDestination,
    GoogleChatDestination,
    GotifyDestination,
    HttpDestination,
    MattermostDestination,
    NtfyDestination,
    PagerDutyDestination,
    RocketChatDestination,
    SlackDestination,
    TeamsDestination,
    TelegramDestination,
    Vendor,
    WebDestination,
)
from relay.config.listening import TcpPort, UnixSocket
from relay.config.load import default, load, parse
from relay.config.match import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.config.model import (
    AdminConfig,
    Config,
    DeadLettersConfig,
    EngineConfig,
    HeartbeatConfig,
    IncludeConfig,
    IngestConfig,
    ReconcileConfig,
    Route,
    StoreConfig,
)
from relay.config.outline import Outline, outline
from relay.config.section import TlsConfig
from relay.config.units import Rate
from relay.config.values import StartFrom, WhenFull

__all__ = [
    "AdminConfig",
    "AlertmanagerDestination",
    "BasicAuth",
    "BatchConfig",
    "Config",
    "ConsoleDestination",
    "DeadLettersConfig",
    "Destination",
    "DiscordDestination",
    "EngineConfig",
    "Exists",
    "Field",
    "Glob",
    "GoogleChatDestination",
    "GotifyDestination",
    "HeartbeatConfig",
    "HttpDestination",
    "IncludeConfig",
    "IngestConfig",
    "Match",
    "MattermostDestination",
    "Not",
    "NtfyDestination",
    "Outline",
    "PagerDutyDestination",
    "Pattern",
    "Range",
    "Rate",
    "ReconcileConfig",
    "Regex",
    "RetryConfig",
    "RocketChatDestination",
    "Route",
    "SlackDestination",
    "StartFrom",
    "StoreConfig",
    "TcpPort",
    "TeamsDestination",
    "TelegramDestination",
    "TimeoutConfig",
    "TlsConfig",
    "UnixSocket",
    "Vendor",
    "WebDestination",
    "WhenFull",
    "default",
    "load",
    "outline",
    "parse",
]
