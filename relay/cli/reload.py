"""``relay reload``."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click

from relay.admin.client import NoDaemon, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operations import NotRunning
from relay.cli.connect import locate_store
from relay.cli.options import config_option, find_config
from relay.core.errors import ConfigError
from relay.store.database import resolve_store_path


@click.command()
@config_option
def reload(chosen: Path | None) -> None:
    """Have the relay that runs read its configuration again.

    Prints what that changed. A configuration with an error in it changes nothing: every problem is
    printed with its line, and the exit code is 1.
    """
    changes = asyncio.run(_reload(chosen))
    click.echo(f"reloaded: {', '.join(changes) or 'nothing has changed'}")


async def _reload(chosen: Path | None) -> Sequence[str]:
    store, unread = _locate_store(chosen)
    try:
        async with connect_to_daemon(socket_path(store)) as desk:
            return await desk.reload()
    except NoDaemon as error:
        if unread is not None:
            raise unread from error
        raise NotRunning(
            f"no relay is running with the store {store}: when one starts, it reads the "
            "configuration. If store.path was changed, restart the one that runs"
        ) from error


def _locate_store(chosen: Path | None) -> tuple[Path, ConfigError | None]:
    """Where the relay that runs has its store.

    A file that is no YAML does not say: then the usual place, and what is wrong with the file.
    """
    try:
        return locate_store(chosen).path, None
    except ConfigError as error:
        file = find_config(chosen)
        assert file is not None, "without a file none is wrong"
        return resolve_store_path(None, file.parent, os.environ), error
