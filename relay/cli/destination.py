"""``relay destination``."""

import asyncio
from pathlib import Path

import click

from relay.admin.operations import UnknownDestination
from relay.cli.connect import StoreLocation, connect, locate_store
from relay.cli.options import config_option, convert_name


@click.group()
def destination() -> None:
    """Tell the relay that runs about a destination."""


@destination.command()
@click.argument("name", callback=convert_name)
@config_option
def enable(name: str, chosen: Path | None) -> None:
    """Send to NAME again, though it said that it wants no more (410) or to be left alone."""
    try:
        waited = asyncio.run(_enable(locate_store(chosen), name))
    except UnknownDestination as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"{name}: enabled" if waited else f"{name}: it was being sent to already")


async def _enable(kept: StoreLocation, name: str) -> bool:
    async with connect(kept) as found:
        return await found.operations.enable(name)
