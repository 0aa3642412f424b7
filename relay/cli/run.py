"""``relay run``."""

import asyncio
import logging
import os
from pathlib import Path

import click

from relay import daemon
from relay.channel import Terminal
from relay.cli.configuration import config_option, find, read
from relay.cli.output import StandardError, standard_output
from relay.config import Config
from relay.ops import logs
from relay.stop import Stop
from relay.store.file import store_path


@click.command()
@config_option
@click.option("--debug", is_flag=True, help="Log more: also what the libraries say.")
def run(chosen: Path | None, debug: bool) -> None:
    """Listen, match and deliver until told to stop (SIGTERM, SIGINT)."""
    config = read(chosen)
    file = find(chosen)
    store = None if file is None else store_path(config.store.path, file.parent, os.environ)
    level = logging.DEBUG if debug else logging.INFO
    with logs.in_background(logs.configure(StandardError(), level=level)):
        asyncio.run(_run(config, store))


async def _run(config: Config, store: Path | None) -> None:
    stop = Stop()
    stop.on_signals()
    with standard_output() as (stream, colour):
        await daemon.run(
            config, store, daemon.Surroundings(os.environ, Terminal(stream, colour)), stop
        )
