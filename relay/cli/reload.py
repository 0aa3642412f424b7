"""``relay reload``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from relay.cli.configuration import config_option
from relay.cli.desk import Keeping, desk, keeping


@click.command()
@config_option
def reload(chosen: Path | None) -> None:
    """Have the relay that runs read its configuration again.

    Prints what that changed. A configuration with an error in it changes nothing: every problem is
    printed with its line, and the exit code is 1.
    """
    changes = asyncio.run(_reload(keeping(chosen)))
    click.echo(f"reloaded: {', '.join(changes) or 'nothing has changed'}")


async def _reload(kept: Keeping) -> Sequence[str]:
    async with desk(kept) as found:
        return await found.desk.reload()
