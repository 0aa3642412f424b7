"""``relay run``."""

import asyncio
import os
from pathlib import Path

import click

from relay import daemon
from relay.cli.configuration import config_option, find, read
from relay.cli.output import StandardError, standard_output
from relay.config import Config
from relay.ops import logs


@click.command()
@config_option
def run(chosen: Path | None) -> None:
    """Listen, match and deliver until told to stop (SIGTERM, SIGINT)."""
    config = read(chosen)
    file = find(chosen)
    store = None if file is None else daemon.store_path(config, file.parent, os.environ)
    with logs.in_background(logs.configure(StandardError())):
        asyncio.run(_run(config, store))


async def _run(config: Config, store: Path | None) -> None:
    stop = daemon.Stop()
    stop.on_signals()
    with standard_output() as (stream, colour):
        await daemon.run(config, store, daemon.Surroundings(os.environ, stream, colour), stop)
