"""``relay destination``: changes the state of a destination in the running relay."""

import asyncio
from pathlib import Path

import click

from relay.admin.operation import Refused
from relay.cli.connect import StoreLocation, connect, locate_store
from relay.cli.group import Group
from relay.cli.options import complete_destination, config_option, convert_name


@click.group(cls=Group)
def destination() -> None:
    """Change the state of a destination in the running relay."""


@destination.command()
@click.argument("name", callback=convert_name, shell_complete=complete_destination)
@config_option
def enable(name: str, config_file: Path | None) -> None:
    """Send to NAME now, even if its answer 410 stopped it, it fails, or it asked for a pause."""
    try:
        was_held = asyncio.run(_enable(locate_store(config_file), name))
    except Refused as error:
        raise click.UsageError(str(error)) from error
    if was_held:
        click.echo(f"{name}: enabled")
    else:
        click.echo(f"{name}: was neither stopped, failing nor paused")


async def _enable(location: StoreLocation, name: str) -> bool:
    async with connect(location) as connection:
        return await connection.operations.enable(name)
