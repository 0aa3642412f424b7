"""``relay run``."""

import asyncio
import os
import sys
from pathlib import Path

import click

from relay import daemon
from relay.cli.configuration import config_option, find, read
from relay.config import Config
from relay.ops import logs


@click.command()
@config_option
def run(chosen: Path | None) -> None:
    """Listen, match and deliver until told to stop (SIGTERM, SIGINT)."""
    config = read(chosen)
    logs.configure(sys.stderr)
    store = None if find(chosen) is None else daemon.store_path(config, os.environ)
    asyncio.run(_run(config, store))


async def _run(config: Config, store: Path | None) -> None:
    stop = daemon.Stop()
    stop.on_signals()
    world = daemon.Surroundings(os.environ, sys.stdout.buffer, sys.stdout.isatty())
    await daemon.run(config, store, world, stop)
