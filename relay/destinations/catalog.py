"""The catalogue of all types of destinations, and the loader of a configuration that uses them.

Each type is one module of this package: the model of its keys, the message, how a response is
read, and its limits with their sources. To add a type, write its module and add its model here. No
other module knows a service by name; only ``console`` is known elsewhere, because it is what relay
uses if there is no configuration file.
"""

from collections.abc import Mapping
from pathlib import Path

from relay.config import Config, DestinationTypes, default, load, parse
from relay.destinations.alertmanager import AlertmanagerDestination
from relay.destinations.console import ConsoleDestination
from relay.destinations.discord import DiscordDestination
from relay.destinations.googlechat import GoogleChatDestination
from relay.destinations.gotify import GotifyDestination
from relay.destinations.http import HttpDestination
from relay.destinations.matrix import MatrixDestination
from relay.destinations.mattermost import MattermostDestination
from relay.destinations.ntfy import NtfyDestination
from relay.destinations.pagerduty import PagerDutyDestination
from relay.destinations.pushover import PushoverDestination
from relay.destinations.rocketchat import RocketChatDestination
from relay.destinations.slack import SlackDestination
from relay.destinations.teams import TeamsDestination
from relay.destinations.telegram import TelegramDestination

DESTINATION_TYPES = DestinationTypes(
    [
        HttpDestination,
        SlackDestination,
        DiscordDestination,
        TeamsDestination,
        MattermostDestination,
        RocketChatDestination,
        GoogleChatDestination,
        TelegramDestination,
        MatrixDestination,
        NtfyDestination,
        GotifyDestination,
        PushoverDestination,
        PagerDutyDestination,
        AlertmanagerDestination,
        ConsoleDestination,
    ]
)
"""All types, in the order in which error messages and the reference list them."""


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Return the configuration in a file: see `relay.config.load`."""
    return load(path, environ, DESTINATION_TYPES)


def parse_config(text: str, *, file: str, environ: Mapping[str, str], folder: Path) -> Config:
    """Return the configuration in a text: see `relay.config.parse`."""
    return parse(text, file=file, environ=environ, folder=folder, types=DESTINATION_TYPES)


def default_config() -> Config:
    """Return the configuration for when there is no file: see `relay.config.default`."""
    return default(DESTINATION_TYPES)
