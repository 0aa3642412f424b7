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
from relay.admin.client import NobodyListens, remote_desk
from relay.admin.control_socket import socket_path
from relay.admin.operations import Desk, DeskError, OwnDesk
from relay.cli.options import find
from relay.config import Outline, outline
from relay.core.errors import StoreInUse
from relay.store.database import store_path
from relay.store.files import Family
from relay.store.outbox import open_outbox
from relay.store.records import Outbox


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where a configuration has relay keep what it knows."""

    outline: Outline
    store: Path

    @property
    def is_begun(self) -> bool:
        """Whether anything was ever kept there."""
        return self.store.exists() or Family(self.store).ready is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Who answers."""

    desk: Desk
    is_running: bool
    """Whether that is a relay which sends, too."""


def keeping(chosen: Path | None) -> Keeping:
    """What the configuration says; raises `ConfigError`, `DeskError` where nothing is kept."""
    file = find(chosen)
    if file is None:
        raise DeskError(
            "nothing is kept without a configuration file: give the one that relay runs with "
            "(--config FILE, or $RELAY_CONFIG)"
        )
    outlined = outline(file, os.environ)
    return Keeping(outlined, store_path(outlined.store, file.parent, os.environ))


@asynccontextmanager
async def desk(kept: Keeping) -> AsyncIterator[Found]:
    """The desk to ask. A store that is not there is not made.

    Raises `DeskError` or `StoreError` where there is none.
    """
    async with AsyncExitStack() as opened:
        yield await _find(kept, opened)


async def _find(kept: Keeping, opened: AsyncExitStack) -> Found:
    try:
        theirs = await opened.enter_async_context(remote_desk(socket_path(kept.store)))
        return Found(theirs, is_running=True)
    except NobodyListens as error:
        nobody = str(error)
    outbox = await _open(kept, nobody, opened)
    own = OwnDesk(outbox, lambda: kept.outline.destinations, time_ns, engines=kept.outline.engines)
    return Found(own, is_running=False)


async def _open(kept: Keeping, nobody: str, opened: AsyncExitStack) -> Outbox:
    logs.configure(sys.stderr, level=logging.WARNING)
    store = kept.store if kept.is_begun else None
    if store is None and kept.outline.store is None:
        raise DeskError(
            f"there is no store {kept.store}, where a relay of this user would have it: set "
            "store.path, or $STATE_DIRECTORY as systemd does (STATE_DIRECTORY=/var/lib/relay)"
        )
    if store is None:
        click.echo(f"nothing was kept yet: there is no store {kept.store}", err=True)
    try:
        return await opened.enter_async_context(
            open_outbox(store, unordered=kept.outline.unordered)
        )
    except StoreInUse as error:
        raise DeskError(
            f"a relay runs that cannot be asked: {nobody}. It may be starting or ending, or its "
            f"socket was removed: {error}"
        ) from error
