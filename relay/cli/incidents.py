"""``relay incidents``: shows what is open and when it was reported, and closes incidents."""

import asyncio
from pathlib import Path

import click

from relay.admin.operation import OperationError
from relay.cli.connect import StoreLocation, connect, locate_store
from relay.cli.group import Group
from relay.cli.incident_id import convert_incident_id, find_one_incident
from relay.cli.incident_table import (
    HEADINGS,
    details_to_document,
    format_page,
    format_row,
    name_subject,
    to_document,
)
from relay.cli.options import config_option, json_option, limit_option
from relay.cli.tables import format_name, format_table, to_json_line
from relay.core.text import truncate

SUBJECT_MAX = 90
"""Longest name of a container in a sentence, in UTF-16 units."""


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--all", "everything", is_flag=True, help="Also those that are over; they stay for an hour."
)
@click.option("--host", metavar="NAME", help="Only those on this host, as in web-17 or 'web-*'.")
@limit_option("incidents")
@json_option
@config_option
@click.pass_context
def incidents(
    context: click.Context,
    /,
    config_file: Path | None,
    everything: bool,
    host: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the incidents that are open, and when each was reported or why it was not.

    The most severe come first, and of these the latest. An incident has a row for each destination.
    """
    if context.invoked_subcommand is None:
        asyncio.run(_list(locate_store(config_file), limit, everything, host, as_json))
    elif any(
        context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        for name in context.params
    ):
        name = context.invoked_subcommand
        raise click.UsageError(f"write the options after the command: relay incidents {name} …")


@incidents.command()
@click.argument("id_", metavar="ID", callback=convert_incident_id)
@json_option
@config_option
def show(config_file: Path | None, id_: str, as_json: bool) -> None:
    """Show all of one incident, at each destination, with a timeline."""
    asyncio.run(_show(locate_store(config_file), id_, as_json))


@incidents.command()
@click.argument("id_", metavar="ID", callback=convert_incident_id)
@config_option
def close(config_file: Path | None, id_: str) -> None:
    """Resolve an incident at every destination, even if its container is not known to be well.

    Each destination that was notified of it gets a message about its end. A further problem within
    an hour opens it again.
    """
    asyncio.run(_close(locate_store(config_file), id_))


async def _list(
    location: StoreLocation, limit: int, everything: bool, host: str | None, as_json: bool
) -> None:
    async with connect(location) as connection:
        page = await connection.operations.list_incidents(
            limit, include_ended=everything, host=host
        )
        now_ns = await connection.operations.now_ns()
    # The store is closed now: a slow reader of the output must not keep a relay from starting.
    if as_json:
        for incident in page.incidents:
            click.echo(to_json_line(to_document(incident)))
    elif page.incidents:
        is_daemon = connection.is_daemon
        rows = (
            format_row(each, now_ns, connection.zone, is_daemon=is_daemon)
            for each in page.incidents
        )
        for line in format_table([HEADINGS, *rows]):
            click.echo(line)
    if not page.incidents:
        where = "" if host is None else f" on {format_name(host)}"
        nothing = "no incidents" if everything else "no incident is open"
        click.echo(f"{nothing}{where}", err=True)
    if (more := page.count - len(page.incidents)) > 0:
        click.echo(f"… and {more} more: --limit {page.count} shows them", err=True)


async def _show(location: StoreLocation, id_: str, as_json: bool) -> None:
    async with connect(location) as connection:
        found = await find_one_incident(connection.operations, id_)
        now_ns = await connection.operations.now_ns()
    if as_json:
        output = "\n".join(to_json_line(details_to_document(each)) for each in found)
    else:
        is_daemon, zone = connection.is_daemon, connection.zone
        pages = ("\n".join(format_page(each, now_ns, zone, is_daemon=is_daemon)) for each in found)
        output = "\n\n".join(pages)
    click.echo(output)


async def _close(location: StoreLocation, id_: str) -> None:
    async with connect(location) as connection:
        found = await find_one_incident(connection.operations, id_)
        incident = found[0].incident
        was_open = await connection.operations.close_incident(incident.id)
    if not was_open:
        raise OperationError(f"incident {incident.id} is over already: {incident.resolution}")
    destinations = ", ".join(
        format_name(each.incident.destination) for each in found if each.incident.ended_ns is None
    )
    subject = truncate(name_subject(incident), SUBJECT_MAX)
    click.echo(f"closed {incident.id} ({subject}) at {destinations}")
    if not connection.is_daemon:
        click.echo("no relay is running: its end is told when one starts", err=True)
