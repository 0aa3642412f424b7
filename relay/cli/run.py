"""``relay run``: the daemon."""

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import click
import structlog

from relay.admin import logs
from relay.cli import creating_lasting_objects
from relay.cli.options import DEFAULT_FILE, config_option, find_config
from relay.cli.output import StandardError, standard_output
from relay.config import Config, ConfigOrigin, OriginKind
from relay.config.services import main_variables
from relay.core.tasks import Shutdown
from relay.daemon import run as daemon
from relay.daemon.reload import ConfigSource
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import load_located_config
from relay.store.database import resolve_store_path

log = structlog.get_logger()

LARGE_BLOCK_BYTES = 1024 * 1024
"""A block of this size or more is mapped by itself. Ordinary events need none."""

# mallopt(3), the numbers of <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


@click.command()
@config_option
@click.option("--debug", is_flag=True, help="Log at level debug, whatever log.level says.")
def run(config_file: Path | None, debug: bool) -> None:
    """Listen to the engines, match events and deliver, until SIGTERM or SIGINT.

    SIGHUP makes it read the configuration again, as `relay reload` does.
    """
    with _hold_sighup():
        with creating_lasting_objects():
            origin = find_config(config_file)
            located = load_located_config(origin, os.environ)
            config, store = located.config, None
            if origin.is_stored:
                store = resolve_store_path(config.store.path, origin.folder, os.environ)
            output = logs.configure(StandardError(), level="debug" if debug else config.log.level)
            loop_factory = _loop_factory()
        return_large_blocks()
        _log_origin(origin, located.unused_variables)
        with output.write_in_background(), asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run(config, origin, store, keep_level=debug))


def _log_origin(origin: ConfigOrigin, unused_variables: Sequence[str]) -> None:
    """Say which configuration is used, if it is not simply a file."""
    if unused_variables:
        log.warning(
            "relay.variables_unused",
            variables=", ".join(unused_variables),
            reason=f"{origin.name} does not refer to them",
        )
    match origin.kind:
        case OriginKind.BUILT_IN:
            log.info(
                "relay.without_config",
                uses="the built-in configuration",
                looked_at=f"$RELAY_CONFIG (not set), {DEFAULT_FILE} (not there)",
                remedy=f"name a file with --config, or set a variable: {main_variables()[0]} …",
            )
        case OriginKind.VARIABLES:
            log.info(
                "relay.without_config",
                uses=f"the built-in configuration, with {', '.join(origin.variables)}",
                shown_by="relay check --show",
            )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory if uvloop is installed; None for asyncio's own loop."""
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def return_large_blocks() -> None:
    """Map blocks of `LARGE_BLOCK_BYTES` by themselves, and unmap them when they are freed.

    Left to itself, glibc stops doing that as soon as one large block was freed. Later ones then lie
    among small ones, and the space between these is not given back: a few events of 4 MiB cost
    100 MB for ever. Does nothing where the C library has no ``mallopt``.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BLOCK_BYTES)  # as glibc sets it beside the other


@contextmanager
def _hold_sighup() -> Iterator[None]:
    """Block SIGHUP until its handler is installed: during the start it would end relay."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        _unblock_sighup()


def _unblock_sighup() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


async def _run(
    config: Config, origin: ConfigOrigin, store: Path | None, *, keep_level: bool
) -> None:
    """Run the daemon. A reload does not change the level of the log if ``keep_level``."""
    shutdown = Shutdown()
    if origin.kind is OriginKind.BUILT_IN:
        source = None
        shutdown.handle_signals(signal.SIGHUP)  # sent when the terminal is closed
    else:
        source = ConfigSource(lambda: load_located_config(origin, os.environ).config)
        source.handle_sighup()
        shutdown.handle_signals()
    _unblock_sighup()
    with standard_output() as (stream, colour):
        environment = daemon.Environment(
            os.environ,
            ConsoleOutput(stream, colour),
            set_log_level=(lambda _: None) if keep_level else logs.set_level,
        )
        await daemon.run_daemon(config, store, environment, shutdown, source)
