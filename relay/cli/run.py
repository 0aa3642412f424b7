"""``relay run``."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

import click

from relay.admin import logs
from relay.cli.options import config_option, find, read
from relay.cli.output import StandardError, standard_output
from relay.config import Config, load
from relay.core.shutdown import Stop
from relay.daemon import run as daemon
from relay.daemon.reload import Source
from relay.delivery.client import Terminal
from relay.store.database import store_path


@click.command()
@config_option
@click.option("--debug", is_flag=True, help="Log more: also what the libraries say.")
def run(chosen: Path | None, debug: bool) -> None:
    """Listen, match and deliver until told to stop (SIGTERM, SIGINT).

    SIGHUP has the configuration read again, as `relay reload` does.
    """
    level = logging.DEBUG if debug else logging.INFO
    with _hangups_kept():
        config = read(chosen)
        file = find(chosen)
        store = None if file is None else store_path(config.store.path, file.parent, os.environ)
        output = logs.configure(StandardError(), level=level)
        with output.in_background(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            gc.freeze()  # what is there stays: going through it again would hold up everything
            runner.run(_run(config, file, store))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed; None for asyncio's own."""
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@contextmanager
def _hangups_kept() -> Iterator[None]:
    """Until somebody takes them, so that one that comes during the start does not end relay."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        _let_hangups_through()


def _let_hangups_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


async def _run(config: Config, file: Path | None, store: Path | None) -> None:
    stop = Stop()
    if file is None:
        source = None
        stop.on_signals(signal.SIGHUP)  # a terminal that is closed
    else:
        source = Source(partial(load, file, os.environ))
        source.on_signal()
        stop.on_signals()
    _let_hangups_through()
    with standard_output() as (stream, colour):
        world = daemon.Surroundings(os.environ, Terminal(stream, colour))
        await daemon.run(config, store, world, stop, source)
