"""Where the configuration comes from: a file, a text in the environment, or variables.

The first of these that is there is used, and the others are not read:

1. the file that the command line names,
2. the file that ``RELAY_CONFIG`` names, or the text in ``RELAY_CONFIG_YAML``,
3. the file in the usual place,
4. the built-in configuration, with the destinations of variables such as ``RELAY_SLACK_URL``,
5. the built-in configuration, which writes to standard output.

The command line comes before the environment. Within the environment nothing is silently left out:
a variable of a destination that 2 or 3 does not refer to is an error.
"""

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path

import msgspec

from relay.config import builtin, variables
from relay.config.services import main_variables
from relay.core.errors import ConfigError, Problem

_MAX_BYTES = 2**20


class OriginKind(Enum):
    """What kind of place a configuration comes from."""

    FILE = auto()
    TEXT = auto()
    """``RELAY_CONFIG_YAML``."""
    VARIABLES = auto()
    """The built-in configuration, with destinations of variables."""
    BUILT_IN = auto()
    """The built-in configuration, which writes to standard output."""


class ConfigOrigin(msgspec.Struct, frozen=True):
    """The place that a configuration comes from."""

    kind: OriginKind
    name: str
    """What messages call it."""
    file: Path | None = None
    """The file, if it is one."""
    text: str = ""
    """The configuration, if it is no file."""
    variables: tuple[str, ...] = ()
    """The variables of destinations that are set. A file or a text has to refer to them."""
    may_ignore_variables: bool = False
    """Whether it need not refer to them, because the command line has named the file."""

    @property
    def folder(self) -> Path:
        """The folder at which relative paths start."""
        return Path() if self.file is None else self.file.parent

    @property
    def is_stored(self) -> bool:
        """Whether relay then has a store on disk; else it keeps everything in memory."""
        return self.kind is not OriginKind.BUILT_IN

    def read(self) -> str:
        """Return the configuration. Raises `ConfigError` if its file cannot be read."""
        return self.text if self.file is None else read_text(self.file)


def of_file(file: Path) -> ConfigOrigin:
    """Return the origin that is this file, whatever the environment says."""
    return ConfigOrigin(OriginKind.FILE, str(file), file)


def find_origin(named: Path | None, environ: Mapping[str, str], usual: Path) -> ConfigOrigin:
    """Return the origin of the configuration.

    ``named`` is the file that the command line names, ``usual`` the one that is used if it is
    there. Raises `ConfigError` if the variables contradict each other, or if there is nothing and
    ``RELAY_REQUIRE_CONFIG`` is set.
    """
    given = variables.find_destination_variables(environ)
    if named is not None:
        return msgspec.structs.replace(of_file(named), variables=given, may_ignore_variables=True)
    file = environ.get(variables.CONFIG)
    text = environ.get(variables.CONFIG_YAML)
    if file and text is not None:
        message = f"{variables.CONFIG} is set as well: keep one of the two"
        raise ConfigError([Problem(variables.PLACE, 0, 0, variables.CONFIG_YAML, message)])
    if file:
        return msgspec.structs.replace(of_file(Path(file)), variables=given)
    if text is not None:
        kind = OriginKind.TEXT
        return ConfigOrigin(kind, variables.CONFIG_YAML, text=_check(text), variables=given)
    if _is_there(usual):
        return msgspec.structs.replace(of_file(usual), variables=given)
    return _find_built_in(environ, usual)


def built_in() -> ConfigOrigin:
    """Return the built-in configuration, which writes to standard output."""
    text = builtin.compose(builtin.Choices(), ["The built-in configuration."])
    return ConfigOrigin(OriginKind.BUILT_IN, "(built in)", text=text)


def _find_built_in(environ: Mapping[str, str], usual: Path) -> ConfigOrigin:
    choices = variables.read_variables(environ)
    if choices is not None:
        given = variables.find_destination_variables(environ)
        names = ", ".join(given)
        introduction = [
            f"The built-in configuration, with {names}.",
            "`relay init` writes such a file, for you to change.",
        ]
        text = builtin.compose(choices, introduction)
        name = f"(built in, with {names})"
        return ConfigOrigin(OriginKind.VARIABLES, name, text=text, variables=given)
    if environ.get(variables.REQUIRE_CONFIG, "0") not in ("", "0"):
        raise ConfigError([Problem(str(usual), 0, 0, "", _nothing(usual))])
    return built_in()


def _nothing(usual: Path) -> str:
    first, *others = main_variables()
    return (
        "there is no such file, and no variable names a destination. Either set a variable "
        f"(docker run -e {first}=https://…; also {', '.join(others)}), or mount a file "
        f"(docker run -v ./config.yaml:{usual}:ro)"
    )


def _is_there(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # the file exists, and reading it will say what is wrong
    return True


def _check(text: str) -> str:
    """Return the text of ``RELAY_CONFIG_YAML``; what a file may not be, it may not be either."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n") + 1
        message = f"is not UTF-8 text, on line {line}"
    else:
        if size <= _MAX_BYTES:
            return text
        message = _too_large()
    raise ConfigError([Problem(variables.CONFIG_YAML, 0, 0, "", message)])


def _too_large() -> str:
    return f"is larger than {_MAX_BYTES // 2**20} MiB"


def read_text(path: Path) -> str:
    """Return the text of a file of at most 1 MiB. Raises `ConfigError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            message = _too_large()
        else:
            return content.decode()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"is not UTF-8 text, on line {line}"
    except ValueError:
        message = "cannot be read: its name holds a NUL"
    raise ConfigError([Problem(str(path), 0, 0, "", message)])
