"""The services that variables and `relay init` can name, and what relay needs to know of each.

That is one to three values: an address, a token, a topic. Everything else about a destination is
for a configuration file.
"""

from collections.abc import Iterator

import msgspec

PREFIX = "RELAY_"
"""The beginning of all variables that relay reads."""
FILE_SUFFIX = "_FILE"
"""The end of a variable that names a file with the value of another variable."""


class Setting(msgspec.Struct, frozen=True):
    """One value that a service needs."""

    key: str
    """The key of the destination that holds it."""
    variable: str
    """The variable that sets it, as in ``RELAY_GOTIFY_TOKEN``."""
    option: str
    """The option of `relay init` that sets it, as in ``gotify-token``."""
    metavar: str
    """What stands for the value in the help of the option."""
    meaning: str
    """What the value is, for the help of the option."""
    is_required: bool = True
    """Whether relay can send nothing to the service without it."""

    @property
    def file_variable(self) -> str:
        """The variable that names a file with the value."""
        return self.variable + FILE_SUFFIX


class Service(msgspec.Struct, frozen=True):
    """A destination that needs only a few values."""

    name: str
    """The name of the destination."""
    type: str
    settings: tuple[Setting, ...]


Row = tuple[str, str, str] | tuple[str, str, str, bool]
"""The key of a setting, the end of its variable, its meaning, and False if it can be left out."""


def _service(name: str, type_: str, *rows: Row) -> Service:
    """Return a service; the option of its first setting is its name."""
    settings: list[Setting] = []
    for key, word, meaning, *required in rows:
        option = f"{name}-{word.lower().replace('_', '-')}" if settings else name
        variable, metavar = f"{PREFIX}{name.upper()}_{word}", word.rpartition("_")[2]
        settings.append(Setting(key, variable, option, metavar, meaning, False not in required))
    return Service(name, type_, tuple(settings))


SERVICES = (
    _service("slack", "slack", ("url", "URL", "An incoming webhook of Slack.")),
    _service("discord", "discord", ("url", "URL", "A webhook of Discord.")),
    _service("teams", "teams", ("url", "URL", "A workflow of Microsoft Teams.")),
    _service(
        "ntfy",
        "ntfy",
        ("topic", "TOPIC", "A topic of ntfy."),
        ("url", "URL", "The ntfy server of that topic, if it is not ntfy.sh.", False),
        ("bearer_token", "TOKEN", "An access token of that server, if it needs one.", False),
    ),
    _service(
        "telegram",
        "telegram",
        ("token", "TOKEN", "The token of a Telegram bot."),
        ("chat_id", "CHAT_ID", "The chat that the bot writes to."),
    ),
    _service(
        "gotify",
        "gotify",
        ("url", "URL", "A Gotify server."),
        ("token", "TOKEN", "The token of an application of that server."),
    ),
    _service("webhook", "http", ("url", "URL", "Any webhook; it gets JSON.")),
    _service("apprise", "apprise", ("url", "URL", "A URL of Apprise, for a hundred services.")),
)
"""In the order in which they are listed. The types are names of the catalogue of destinations."""


def all_settings() -> Iterator[Setting]:
    """Yield the settings of all services."""
    for service in SERVICES:
        yield from service.settings


def main_variables() -> list[str]:
    """Return the first variable of each service: what to set in order to use it."""
    return [service.settings[0].variable for service in SERVICES]
