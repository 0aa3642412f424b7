"""``relay silence``: what nobody is to be notified of for some time."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import time_ns
from typing import Any

import click
from msgspec.structs import replace

from relay.admin.operation import Refused
from relay.cli.connect import StoreLocation, connect, locate_store, require_store
from relay.cli.group import Group
from relay.cli.options import (
    TimeOption,
    config_option,
    convert_duration,
    convert_time,
    json_option,
    resolve_time,
)
from relay.cli.silence_match import complete_incident, list_warnings, match_options, read_request
from relay.cli.silence_run import run
from relay.cli.silence_table import (
    HEADINGS,
    describe_effect,
    describe_silence,
    format_held,
    format_row,
    to_document,
)
from relay.cli.tables import format_table, to_json_line
from relay.core.zone import TimeZone
from relay.incidents.policy import to_ns
from relay.incidents.silence import Silences
from relay.incidents.silence_request import SilenceRequest


@click.group(cls=Group)
def silence() -> None:
    """Hold back notifications for some time, as during a deployment.

    What is open when a silence ends is reported then. What was over before is only counted.
    """


silence.add_command(run)


@silence.command()
@click.option(
    "--for",
    "duration",
    metavar="DURATION",
    callback=convert_duration,
    help="How long: 30m, 2h, 7d; at most 90d.  [default: 1h]",
)
@click.option(
    "--until",
    metavar="TIME",
    callback=convert_time,
    help="When it ends, instead of --for: 14:00, or 2026-11-23 08:29.",
)
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    callback=convert_time,
    help="When it begins: 14:00, 2026-11-23 08:29, or 30m for in half an hour.  [default: now]",
)
@match_options
@json_option
@config_option
def add(
    config_file: Path | None,
    as_json: bool,
    duration: timedelta | None,
    until: TimeOption | None,
    begin: TimeOption | None,
    **options: Any,
) -> None:
    """Hold back what fits MATCH, from now on or later, until an end.

    MATCH is field=pattern, as in project=shop, name='web-*', label.tier=batch, engine=edge-1 or
    route=died. Each field that is named has to fit; one that is named twice, one of the patterns.
    Or it is the id of an incident.

    What was told before stays told, and its end is told, too.
    """
    if duration is not None and until is not None:
        raise click.UsageError("both --for and --until: write one of them")
    request = read_request(**options)
    asyncio.run(_add(locate_store(config_file), request, (begin, duration, until), as_json))


@silence.command("list")
@click.option(
    "--all", "everything", is_flag=True, help="Also those that are over; they stay for 30 days."
)
@json_option
@config_option
def list_(config_file: Path | None, everything: bool, as_json: bool) -> None:
    """List silences, and what each holds back now and has held back so far.

    An incident that a silence holds now is told when the silence ends, if it is still open then.
    """
    asyncio.run(_list(locate_store(config_file), everything, as_json))


@silence.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True, type=click.IntRange(1, 2**53))
@config_option
def expire(config_file: Path | None, ids: tuple[int, ...]) -> None:
    """End silences now. What they hold back and is still open is told within a few seconds."""
    asyncio.run(_expire(locate_store(config_file), tuple(dict.fromkeys(ids))))


_Period = tuple[TimeOption | None, timedelta | None, TimeOption | None]
"""The values of --from, --for and --until."""


async def _add(
    location: StoreLocation, request: SilenceRequest, period: _Period, as_json: bool
) -> None:
    async with connect(location) as connection:
        require_store(location, connection)
        request = await complete_incident(connection.operations, request)
        request = _set_period(request, period, connection.zone)
        try:
            added = await connection.operations.add_silence(request)
        except Refused as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(to_json_line(to_document(added)))
    else:
        click.echo(describe_silence(added, connection.zone, time_ns()))
    for warning in list_warnings(added):
        click.echo(f"warning: {warning}", err=True)
    for line in describe_effect(added, is_daemon=connection.is_daemon):
        click.echo(line, err=True)


def _set_period(request: SilenceRequest, period: _Period, zone: TimeZone) -> SilenceRequest:
    """Return the request with its times, those of the command line read in a time zone."""
    begin, duration, until = period
    now_ns = time_ns()
    from_ns = None if begin is None else resolve_time("--from", begin, zone, now_ns, ahead=True)
    after_ns = now_ns if from_ns is None else max(now_ns, from_ns)
    return replace(
        request,
        from_ns=from_ns,
        until_ns=None
        if until is None
        else resolve_time("--until", until, zone, after_ns, ahead=True),
        duration_ns=None if duration is None else to_ns(duration),
    )


async def _list(location: StoreLocation, everything: bool, as_json: bool) -> None:
    async with connect(location) as connection:
        found = await connection.operations.list_silences(include_over=everything)
    if as_json:
        for each in found:
            click.echo(to_json_line(to_document(each)))
    elif found:
        now_ns, zone = time_ns(), connection.zone
        rows = (format_row(each, zone, now_ns) for each in found)
        for line in format_table([HEADINGS, *rows]):
            click.echo(line)
    if not found:
        click.echo("no silences" if everything else "no silence is in force or to come", err=True)


async def _expire(location: StoreLocation, ids: Sequence[int]) -> None:
    """End silences; none of them if one does not exist or is over."""
    async with connect(location) as connection:
        known = await connection.operations.list_silences(include_over=True)
        copy, wall_ns = Silences(known), time_ns()
        for id_ in ids:
            copy.expire(id_, wall_ns)
        holding = {each.id: (each.holding_incidents, each.holding_events) for each in known}
        for id_ in ids:
            await connection.operations.expire_silence(id_)
    when = "now" if connection.is_daemon else "when relay runs"
    for id_ in ids:
        held = format_held(*holding[id_])
        following = (
            f"; it held back {held}: what is still open is told {when}" if any(holding[id_]) else ""
        )
        click.echo(f"ended silence {id_}{following}")
