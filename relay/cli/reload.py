"""``relay reload``."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click

from relay.admin.client import NobodyListens, remote_desk
from relay.admin.control_socket import socket_path
from relay.admin.operations import NothingRuns
from relay.cli.connect import keeping
from relay.cli.options import config_option, find
from relay.core.errors import ConfigError
from relay.store.database import store_path


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
    store, unread = _store(chosen)
    try:
        async with remote_desk(socket_path(store)) as desk:
            return await desk.reload()
    except NobodyListens as error:
        if unread is not None:
            raise unread from error
        raise NothingRuns(
            f"no relay is running with the store {store}: when one starts, it reads the "
            "configuration. If store.path was changed, restart the one that runs"
        ) from error


def _store(chosen: Path | None) -> tuple[Path, ConfigError | None]:
    """Where the relay that runs has its store.

    A file that is no YAML does not say: then the usual place, and what is wrong with the file.
    """
    try:
        return keeping(chosen).store, None
    except ConfigError as error:
        file = find(chosen)
        assert file is not None, "without a file none is wrong"
        return store_path(None, file.parent, os.environ), error
