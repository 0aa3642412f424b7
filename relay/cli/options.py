"""Options and arguments that several commands share, and how their values are read.

A ``convert_…`` function is a callback of click's: it returns the value for the command, or raises
`click.BadParameter`.
"""

import os
import re
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from relay.config import Config, ConfigOrigin, ConfigOutline, find_origin, read_outline
from relay.config.types import parse_duration
from relay.core.errors import RelayError
from relay.core.written_time import FORMS, WrittenTime, parse_written_time
from relay.core.zone import TimeZone
from relay.destinations.catalog import load_located_config
from relay.store.records import Selection

DEFAULT_FILE = Path("/etc/relay/config.yaml")

_ID = re.compile(r"([0-9]{1,18})|ntf_[0-9A-Za-z]{1,64}")
_TIME = re.compile(r"\d+[:-]")
"""How a time begins, and no duration."""

TimeOption = timedelta | WrittenTime
"""The value of an option that names a time: a duration before now, or a time as written."""

Command = TypeVar("Command", bound=Callable[..., object])

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration. Default: $RELAY_CONFIG or the text in $RELAY_CONFIG_YAML, else "
    f"{DEFAULT_FILE}, else the built-in one with what variables such as $RELAY_SLACK_URL name.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")


def limit_option(noun: str, maximum: int | None = None) -> Callable[[Command], Command]:
    """Return the option ``--limit`` of a command that lists something; ``noun`` is its plural."""
    return click.option(
        "--limit",
        type=click.IntRange(1, maximum),
        default=100,
        show_default=True,
        help=f"Show at most so many {noun}.",
    )


def find_config(config_file: Path | None) -> ConfigOrigin:
    """Return the place of the configuration; ``config_file`` is the one of the command line.

    Raises `ConfigError` if the environment contradicts itself.
    """
    return find_origin(config_file, os.environ, DEFAULT_FILE)


def read_config(config_file: Path | None) -> Config:
    """Read the configuration, or return the built-in one. Raises `ConfigError`."""
    return load_located_config(find_config(config_file), os.environ).config


def check_known(noun: str, name: str | None, known: Collection[str]) -> None:
    """Raise `click.UsageError` unless ``name`` is one of the ``known`` names, or None.

    ``noun`` says what it names, as in ``engine``.
    """
    if name is not None and name not in known:
        raise click.UsageError(f"no {noun} {name!r}; there are: {', '.join(known) or 'none'}")


def complete_names(
    select: Callable[[ConfigOutline], Sequence[str]],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a function that completes one of the names that ``select`` takes from an outline.

    Without a configuration that can be read it offers nothing: a shell has no place for an error.
    """

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        try:
            origin = find_config(context.params.get("config_file"))
            names = select(read_outline(origin, os.environ))
        except (RelayError, OSError):
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


complete_destination = complete_names(lambda outline: outline.destinations)
complete_engine = complete_names(lambda outline: outline.engines)
complete_route = complete_names(lambda outline: outline.routes)


def convert_id(_: click.Context, __: click.Parameter, value: str) -> int | str:
    """Convert to the number of a dead letter, or the id of a notification."""
    found = _ID.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not an id: write a number or ntf_…")
    return int(value) if found[1] else value


def _convert_ids(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[int | str, ...]:
    return tuple(convert_id(context, parameter, value) for value in values)


def convert_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return a name unchanged; one that is not UTF-8 cannot be anything's name."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"{value!r} is not UTF-8") from error
    return value


def convert_duration(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """Convert a duration, such as 2h."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error


def convert_time(_: click.Context, __: click.Parameter, value: str | None) -> TimeOption | None:
    """Convert a duration before now, or a time: `resolve_time` returns when that is."""
    if value is None:
        return None
    is_time = _TIME.match(value) is not None
    try:
        return parse_written_time(value) if is_time else parse_duration(value)
    except ValueError as error:
        other = "" if is_time else f"; or a time as {FORMS}"
        raise click.BadParameter(f"{value!r} {error}{other}") from error


def resolve_time(
    name: str, value: TimeOption, zone: TimeZone, now_ns: int, *, ahead: bool = False
) -> int:
    """Return when the value of an option is, in nanoseconds since 1970.

    ``name`` is the option's. ``ahead``: it is in the future, or for a `WrittenTime` without a day
    the next time of day, not the last. Raises `click.UsageError`.
    """
    if isinstance(value, timedelta):
        span_ns = value // timedelta(microseconds=1) * 1000
        return now_ns + span_ns if ahead else max(1, now_ns - span_ns)
    try:
        return value.to_ns(zone, now_ns, ahead=ahead)
    except ValueError as error:
        raise click.UsageError(f"{name} {value.text!r} {error}") from error


class Filters(msgspec.Struct, frozen=True):
    """The dead letters that a command is asked for; all filters must hold."""

    ids: tuple[int | str, ...]
    """Numbers of dead letters and ids of notifications; empty for all."""
    destination: str | None
    route: str | None
    since: TimeOption | None
    """Only those given up since then, or since so long ago."""

    @property
    def is_empty(self) -> bool:
        """Whether they select every dead letter."""
        return self == Filters((), None, None, None)

    def to_selection(self, zone: TimeZone, now_ns: int) -> Selection:
        """Return the selection for the store, with ``since`` read in ``zone`` at ``now_ns``."""
        since_ns = None
        if self.since is not None:
            since_ns = resolve_time("--since", self.since, zone, now_ns)
        return Selection(self.ids or None, self.destination, self.route, since_ns)


def selection_options(command: Command) -> Command:
    """Add the ids and filters to a command, which gets them under the names of `Filters`."""
    for decorate in (
        click.option(
            "--since",
            metavar="TIME",
            callback=convert_time,
            help="Only those given up since then: 30m, 7d, 14:00, or 2026-11-23 08:29.",
        ),
        click.option(
            "--route",
            metavar="NAME",
            callback=convert_name,
            shell_complete=complete_route,
            help="Only those of this route.",
        ),
        click.option(
            "--destination",
            metavar="NAME",
            callback=convert_name,
            shell_complete=complete_destination,
            help="Only those for this destination.",
        ),
        click.argument("ids", nargs=-1, callback=_convert_ids),
    ):
        command = decorate(command)
    return command
