"""Which dead letters a command means."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from relay.config import Config, default, load
from relay.config.units import parse_duration
from relay.dryrun.history import PointInTime
from relay.store.records import Selection

_ID = re.compile(r"([0-9]{1,18})|ntf_[0-9A-Za-z]{1,64}")

Command = TypeVar("Command", bound=Callable[..., object])


def convert_id(_: click.Context, __: click.Parameter, value: str) -> int | str:
    """A dead letter's number or a notification's id; a callback of click's."""
    found = _ID.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no id: write a number or ntf_…")
    return int(value) if found[1] else value


def convert_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """What can be a name; likewise."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"{value!r} is not UTF-8") from error
    return value


def _convert_ids(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[int | str, ...]:
    return tuple(convert_id(context, parameter, value) for value in values)


def convert_duration(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """A duration; likewise."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error


@dataclass(frozen=True, slots=True)
class Filters:
    """What somebody asked for."""

    ids: tuple[int | str, ...]
    destination: str | None
    route: str | None
    since: timedelta | None

    @property
    def narrow(self) -> bool:
        """Whether they leave anything out."""
        return self != Filters((), None, None, None)

    def to_selection(self, now_ns: int) -> Selection:
        """The letters that are meant at this time."""
        ago = None if self.since is None else self.since // timedelta(microseconds=1) * 1000
        return Selection(
            self.ids or None,
            self.destination,
            self.route,
            None if ago is None else max(0, now_ns - ago),
        )


def selection_options(command: Command) -> Command:
    """Give a command ids and filters; it gets them under the names of `Filters`."""
    for decorate in (
        click.option(
            "--since",
            metavar="DURATION",
            callback=convert_duration,
            help="Those that died within so long: 30m, 2h, 7d.",
        ),
        click.option("--route", callback=convert_name, help="Those by this route."),
        click.option("--destination", callback=convert_name, help="Those for this destination."),
        click.argument("ids", nargs=-1, callback=_convert_ids),
    ):
        command = decorate(command)
    return command


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII
)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)
"""About where 64 bits of nanoseconds end."""


def convert_time(_: click.Context, __: click.Parameter, value: str | None) -> PointInTime | None:
    """A duration before now, or a time as RFC 3339 writes it; a callback of click's."""
    if value is None:
        return None
    found = _RFC3339.fullmatch(value)
    try:
        return parse_duration(value) if found is None else _parse_instant(*found.groups())
    except ValueError as error:
        words = str(error) if found is None else "is no time that there is"
        more = "" if found else "; or a time as 2026-11-23T06:48:34Z"
        raise click.BadParameter(f"{value!r} {words}{more}") from error


def _parse_instant(day: str, clock: str, fraction: str | None, zone: str | None) -> int:
    moment = datetime.fromisoformat(f"{day}T{clock}{zone or '+00:00'}")
    if not _EARLIEST < moment < _LATEST:
        raise ValueError
    seconds = (moment - _EARLIEST) // timedelta(seconds=1)
    return seconds * 10**9 + int((fraction or "").ljust(9, "0"))


DEFAULT_FILE = Path("/etc/relay/config.yaml")

config_option = click.option(
    "--config",
    "chosen",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The configuration; else $RELAY_CONFIG, else {DEFAULT_FILE}.",
)


def find_config(chosen: Path | None) -> Path | None:
    """The file that counts; None where there is none and none was asked for."""
    if chosen is not None:
        return chosen
    if named := os.environ.get("RELAY_CONFIG"):
        return Path(named)
    try:
        DEFAULT_FILE.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it is there, and reading it says what is wrong
    return DEFAULT_FILE


def read_config(chosen: Path | None) -> Config:
    """The configuration, or the one that holds without a file. Raises `ConfigError`."""
    file = find_config(chosen)
    return default() if file is None else load(file, os.environ)
