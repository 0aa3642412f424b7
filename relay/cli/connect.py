"""Whom a command asks: the relay that runs, else the store itself."""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.admin.client import NoDaemon, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operations import AdminOperations, LocalOperations, OperationError
from relay.cli.options import find_config
from relay.config import ConfigOutline, read_outline
from relay.core.errors import StoreInUse
from relay.store.database import resolve_store_path
from relay.store.files import DatabaseFiles
from relay.store.outbox import Outbox, open_outbox


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Where a configuration has relay keep what it knows."""

    outline: ConfigOutline
    path: Path

    @property
    def has_data(self) -> bool:
        """Whether anything was ever kept there."""
        return self.path.exists() or DatabaseFiles(self.path).pending_replacement is not None


@dataclass(frozen=True, slots=True)
class Connection:
    """Who answers."""

    operations: AdminOperations
    is_daemon: bool
    """Whether that is a relay which sends, too."""


def locate_store(chosen: Path | None) -> StoreLocation:
    """What the configuration says; raises `ConfigError`, `OperationError` where nothing is kept."""
    file = find_config(chosen)
    if file is None:
        raise OperationError(
            "nothing is kept without a configuration file: give the one that relay runs with "
            "(--config FILE, or $RELAY_CONFIG)"
        )
    outlined = read_outline(file, os.environ)
    return StoreLocation(outlined, resolve_store_path(outlined.store, file.parent, os.environ))


@asynccontextmanager
async def connect(kept: StoreLocation) -> AsyncIterator[Connection]:
    """The desk to ask. A store that is not there is not made.

    Raises `OperationError` or `StoreError` where there is none.
    """
    async with AsyncExitStack() as opened:
        yield await _connect(kept, opened)


async def _connect(kept: StoreLocation, opened: AsyncExitStack) -> Connection:
    try:
        theirs = await opened.enter_async_context(connect_to_daemon(socket_path(kept.path)))
        return Connection(theirs, is_daemon=True)
    except NoDaemon as error:
        nobody = str(error)
    outbox = await _open_store(kept, nobody, opened)
    own = LocalOperations(
        outbox, lambda: kept.outline.destinations, time_ns, engines=kept.outline.engines
    )
    return Connection(own, is_daemon=False)


async def _open_store(kept: StoreLocation, nobody: str, opened: AsyncExitStack) -> Outbox:
    logs.configure(sys.stderr, level=logging.WARNING)
    store = kept.path if kept.has_data else None
    if store is None and kept.outline.store is None:
        raise OperationError(
            f"there is no store {kept.path}, where a relay of this user would have it: set "
            "store.path, or $STATE_DIRECTORY as systemd does (STATE_DIRECTORY=/var/lib/relay)"
        )
    if store is None:
        click.echo(f"nothing was kept yet: there is no store {kept.path}", err=True)
    try:
        return await opened.enter_async_context(
            open_outbox(store, unordered=kept.outline.unordered)
        )
    except StoreInUse as error:
        raise OperationError(
            f"a relay runs that cannot be asked: {nobody}. It may be starting or ending, or its "
            f"socket was removed: {error}"
        ) from error
