"""``relay reload``: makes the running relay read its configuration again."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click

from relay.admin.client import NoDaemon, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operations import NotRunning
from relay.cli.connect import locate_store
from relay.cli.options import config_option
from relay.core.errors import ConfigError
from relay.store.database import resolve_store_path


@click.command()
@config_option
def reload(config_file: Path | None) -> None:
    """Make the running relay read its configuration again, and print what changed.

    A configuration with an error changes nothing: every problem is printed with its line, and the
    exit code is 1.
    """
    changes = asyncio.run(_reload(config_file))
    click.echo(f"reloaded: {', '.join(changes) or 'nothing has changed'}")


async def _reload(config_file: Path | None) -> Sequence[str]:
    store, config_error = _locate_store(config_file)
    try:
        async with connect_to_daemon(socket_path(store)) as daemon:
            return await daemon.reload()
    except NoDaemon as error:
        if config_error is not None:
            raise config_error from error
        raise NotRunning(
            f"no relay is running with the store {store}: when one starts, it reads the "
            "configuration. If store.path was changed, restart the running one"
        ) from error


def _locate_store(config_file: Path | None) -> tuple[Path, ConfigError | None]:
    """Return the store of the running relay, and what is wrong with the configuration file.

    A file that is not YAML does not say where the store is: the default location is tried then.
    """
    try:
        return locate_store(config_file).path, None
    except ConfigError as error:
        return resolve_store_path(None, Path(), os.environ), error
