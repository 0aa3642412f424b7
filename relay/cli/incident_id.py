"""Ids of incidents on a command line, where the first digits are enough."""

import re

import click

from relay.admin.operation import Refused
from relay.admin.operations import AdminOperations
from relay.incidents.view import IncidentDetails

_ID = re.compile(r"inc_[0-9a-f]{4,32}")


def check_incident_id(text: str) -> None:
    """Check an id, or its beginning. Raises `ValueError`; the message follows the text."""
    if not _ID.fullmatch(text):
        raise ValueError(
            "is not the id of an incident: write inc_ and at least 4 of its hex digits"
        )


def convert_incident_id(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check that the value is an incident's id, or its beginning."""
    try:
        check_incident_id(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error
    return value


async def find_one_incident(operations: AdminOperations, id_: str) -> list[IncidentDetails]:
    """Return the incident whose id begins like this, at each destination.

    Raises `Refused` if there is none, `click.UsageError` if several begin like this.
    """
    found = await operations.find_incidents(id_)
    if not found:
        raise Refused(f"there is no incident {id_}: relay incidents --all shows those there are")
    ids = sorted({each.incident.id for each in found})
    if len(ids) > 1:
        raise click.UsageError(f"several incidents begin with {id_}: {', '.join(ids)}")
    return found
