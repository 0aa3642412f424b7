"""Connects a command to the running relay; if none runs, opens its store instead.

The configuration says where the store is, and the control socket of a running relay is beside it.
Only an outline of the configuration is read, so that no secret is needed.
"""

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
from relay.admin.operation import OperationError
from relay.admin.operations import DAEMON_INFO, AdminOperations, LocalOperations
from relay.cli.options import find_config
from relay.config import ConfigOutline, read_outline
from relay.config.errors import quote
from relay.core.errors import StoreInUse
from relay.core.zone import UTC_ZONE, TimeZone, UnknownZone
from relay.store.database import resolve_store_path
from relay.store.files import DatabaseFiles
from relay.store.outbox import Outbox, open_outbox


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Where a configuration puts the store."""

    outline: ConfigOutline
    path: Path

    @property
    def has_data(self) -> bool:
        """Whether there is a store, or a new one that is not at the store's path yet."""
        return self.path.exists() or DatabaseFiles(self.path).pending_replacement is not None


@dataclass(frozen=True, slots=True)
class Connection:
    """The operations that a command can use, and who performs them."""

    operations: AdminOperations
    is_daemon: bool
    """Whether a running relay performs them; else this command has opened the store."""
    zone: TimeZone
    """The time zone of that relay; without one, that of the configuration."""


def locate_store(config_file: Path | None) -> StoreLocation:
    """Find the store of a configuration.

    Raises `ConfigError`, and `OperationError` if there is neither a configuration file nor a
    variable with a destination: relay then keeps everything in memory.
    """
    origin = find_config(config_file)
    if not origin.is_stored:
        raise OperationError(
            "without a configuration file relay keeps nothing on disk: name the file that relay "
            "runs with (--config FILE, or $RELAY_CONFIG), or set the variables that it runs with"
        )
    outline = read_outline(origin, os.environ)
    return StoreLocation(outline, resolve_store_path(outline.store, origin.folder, os.environ))


@asynccontextmanager
async def connect(location: StoreLocation) -> AsyncIterator[Connection]:
    """Connect to the running relay, else open the store. Never creates a store.

    Raises `OperationError` or `StoreError` if neither is possible.
    """
    async with AsyncExitStack() as resources:
        try:
            connecting = connect_to_daemon(socket_path(location.path))
            daemon = await resources.enter_async_context(connecting)
        except NoDaemon as error:
            outbox = await _open_store(location, error, resources)
        else:
            info = await daemon.call(DAEMON_INFO, None)
            yield Connection(daemon, is_daemon=True, zone=find_zone(info.time_zone))
            return
        outline = location.outline
        local = LocalOperations(
            outbox,
            lambda: outline.destinations,
            time_ns,
            engines=outline.engines,
            is_hub=outline.is_hub,
            routes=outline.routes,
        )
        yield Connection(local, is_daemon=False, zone=find_zone(outline.time_zone))


def require_store(location: StoreLocation, connection: Connection) -> None:
    """Check that what is added stays: a running relay keeps it, or there is a store.

    Raises `OperationError`.
    """
    if not connection.is_daemon and not location.has_data:
        raise OperationError(
            f"no relay is running, and there is no store {location.path} yet: start relay first"
        )


def find_zone(name: str) -> TimeZone:
    """Return a time zone. If this command does not know it, it says so and uses UTC."""
    try:
        return TimeZone(name)
    except UnknownZone as error:
        click.echo(f"time_zone: {quote(name)} {error}. Times are in UTC", err=True)
        return UTC_ZONE


async def _open_store(
    location: StoreLocation, no_daemon: NoDaemon, resources: AsyncExitStack
) -> Outbox:
    """Open the store; an empty one in memory if nothing was ever stored."""
    logs.configure(sys.stderr, level="warning")
    path = location.path if location.has_data else None
    if path is None and location.outline.store is None:
        # Saying "nothing is stored" would be wrong if relay runs as a service: systemd alone knows
        # its state directory.
        raise OperationError(
            f"there is no store {location.path}, the default place for this user: set store.path, "
            "or $STATE_DIRECTORY as systemd does (STATE_DIRECTORY=/var/lib/relay)"
        )
    if path is None:
        click.echo(f"nothing was stored yet: there is no store {location.path}", err=True)
    opening = open_outbox(path, unordered=location.outline.unordered)
    try:
        return await resources.enter_async_context(opening)
    except StoreInUse as error:
        raise OperationError(
            f"a relay is running, but cannot be reached: {no_daemon}. It may be starting or "
            f"stopping, or its socket was removed: {error}"
        ) from error
