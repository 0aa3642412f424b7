"""The catalogue of all types of destinations, and the loader of a configuration that uses them.

Each type is one module of this package: the model of its keys, the message, how a response is
read, and its limits with their sources. To add a type, write its module and add its model here. The
module is imported when a configuration uses the type. No other module knows a service by name; only
`relay.config.services` and `relay.config.builtin` name those that need no configuration file.
"""

from collections.abc import Mapping
from pathlib import Path

from relay.config import (
    Config,
    ConfigOrigin,
    DestinationTypes,
    LocatedConfig,
    default,
    load,
    load_located,
    parse,
)

DESTINATION_TYPES = DestinationTypes(
    {
        "http": "relay.destinations.http:HttpDestination",
        "slack": "relay.destinations.slack:SlackDestination",
        "discord": "relay.destinations.discord:DiscordDestination",
        "teams": "relay.destinations.teams:TeamsDestination",
        "mattermost": "relay.destinations.mattermost:MattermostDestination",
        "rocketchat": "relay.destinations.rocketchat:RocketChatDestination",
        "googlechat": "relay.destinations.googlechat:GoogleChatDestination",
        "telegram": "relay.destinations.telegram:TelegramDestination",
        "matrix": "relay.destinations.matrix:MatrixDestination",
        "ntfy": "relay.destinations.ntfy:NtfyDestination",
        "gotify": "relay.destinations.gotify:GotifyDestination",
        "pushover": "relay.destinations.pushover:PushoverDestination",
        "pagerduty": "relay.destinations.pagerduty:PagerDutyDestination",
        "alertmanager": "relay.destinations.alertmanager:AlertmanagerDestination",
        "email": "relay.destinations.email:EmailDestination",
        "apprise": "relay.destinations.apprise:AppriseDestination",
        "nats": "relay.destinations.nats:NatsDestination",
        "console": "relay.destinations.console:ConsoleDestination",
    }
)
"""Where the model of each type is, in the order in which error messages and the reference list
them."""


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration in a file: see `relay.config.load`."""
    return load(path, environ, DESTINATION_TYPES)


def parse_config(text: str, *, file: str, environ: Mapping[str, str], folder: Path) -> Config:
    """Return the configuration in a text: see `relay.config.parse`."""
    return parse(text, file=file, environ=environ, folder=folder, types=DESTINATION_TYPES)


def load_located_config(origin: ConfigOrigin, environ: Mapping[str, str]) -> LocatedConfig:
    """Return a configuration with the lines of its file: see `relay.config.load_located`."""
    return load_located(origin, environ, DESTINATION_TYPES)


def default_config() -> Config:
    """Return the configuration for when there is no file: see `relay.config.default`."""
    return default(DESTINATION_TYPES)
