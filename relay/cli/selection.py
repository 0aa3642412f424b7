"""Which dead letters a command means."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import click

from relay.config.units import duration
from relay.store.outbox import Selection

_ID = re.compile(r"([0-9]{1,18})|ntf_[0-9A-Za-z]{1,64}")

Command = TypeVar("Command", bound=Callable[..., object])


def read_id(_: click.Context, __: click.Parameter, value: str) -> int | str:
    """A dead letter's number or a notification's id; a callback of click's."""
    found = _ID.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no id: write a number or ntf_…")
    return int(value) if found[1] else value


def read_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """What can be a name; likewise."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter(f"{value!r} is not UTF-8") from error
    return value


def _read_ids(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[int | str, ...]:
    return tuple(read_id(context, parameter, value) for value in values)


def read_length(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """A duration; likewise."""
    try:
        return None if value is None else duration(value)
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

    def selection(self, now_ns: int) -> Selection:
        """The letters that are meant at this time."""
        ago = None if self.since is None else self.since // timedelta(microseconds=1) * 1000
        return Selection(
            self.ids or None,
            self.destination,
            self.route,
            None if ago is None else max(0, now_ns - ago),
        )


def selecting(command: Command) -> Command:
    """Give a command ids and filters; it gets them under the names of `Filters`."""
    for decorate in (
        click.option(
            "--since",
            metavar="DURATION",
            callback=read_length,
            help="Those that died within so long: 30m, 2h, 7d.",
        ),
        click.option("--route", callback=read_name, help="Those by this route."),
        click.option("--destination", callback=read_name, help="Those for this destination."),
        click.argument("ids", nargs=-1, callback=_read_ids),
    ):
        command = decorate(command)
    return command
