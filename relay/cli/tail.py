"""``relay tail``: what happens, and which routes take it."""

import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.admin.client import NoDaemon, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operations import OperationError
from relay.admin.tap import EventsSkipped, TapFilter, TappedEvent, make_tapped_event
from relay.cli.connect import locate_store
from relay.cli.event_line import LineStyle, format_json, format_line, format_skipped
from relay.cli.options import config_option, convert_time, find_config, read_config
from relay.cli.output import STDOUT, write_line
from relay.cli.tables import format_name, format_time
from relay.config import Config
from relay.dryrun.history import TIMEOUT_S, History, PointInTime, Window, fetch_history
from relay.ingest.docker.engine.client import (
    ENGINE_ERRORS,
    EngineUnavailable,
    connect,
    describe_error,
)
from relay.ingest.docker.engine.endpoint import resolve_endpoints
from relay.ingest.docker.stream import Connect

Display = Callable[[TappedEvent | EventsSkipped], None]

USE_HISTORY = "read what the engines remember with --since 10m"


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Also events that no route sends anywhere.")
@click.option("--engine", help="Only this engine's events.")
@click.option(
    "--since",
    metavar="TIME",
    callback=convert_time,
    help="Show what the engines remember from then on, and end: 10m, or 2026-11-23T06:48:34Z.",
)
@click.option("--until", metavar="TIME", callback=convert_time, help="With --since: up to then.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each event.")
def tail(
    chosen: Path | None,
    everything: bool,
    engine: str | None,
    since: PointInTime | None,
    until: PointInTime | None,
    as_json: bool,
) -> None:
    """Show each event as it happens, with the routes that take it.

    The relay that runs is asked, and shows what it decides: at first only what a route sends
    somewhere. It ends with Ctrl-C, or when relay ends, then with exit code 1.

    With --since no relay has to run: the engines are asked what they remember (Docker the last 256
    events), and the configuration as it is now says what is sent. Exit code 1 if one of them
    cannot be asked.
    """
    if until is not None and since is None:
        raise click.UsageError("--until goes with --since")
    wish = TapFilter(everything, engine)
    with _end_quietly():
        if since is None:
            _follow_relay(chosen, wish, as_json)
        else:
            window = Window(since) if until is None else Window(since, until)
            _show_history(read_config(chosen), window, wish, as_json)


def _follow_relay(chosen: Path | None, wish: TapFilter, as_json: bool) -> None:
    """Show what the relay that runs decides, until somebody ends it."""
    if find_config(chosen) is None:
        raise OperationError(
            "no relay can be asked without a configuration file: give the one that it runs with "
            f"(--config FILE, or $RELAY_CONFIG), or {USE_HISTORY}"
        )
    kept = locate_store(chosen)
    _check_engine(wish.engine, kept.outline.engines)
    several = wish.engine is None and len(kept.outline.engines) > 1
    show = _make_display(LineStyle(_wants_colour(as_json), several), as_json)
    try:
        asyncio.run(_tail_relay(socket_path(kept.path), wish, show))
    except NoDaemon as error:
        raise OperationError(
            f"no relay is running ({error}): start one, or {USE_HISTORY}"
        ) from error


async def _tail_relay(socket: Path, wish: TapFilter, show: Display) -> None:
    _end_when_pipe_closes()
    async with connect_to_daemon(socket) as desk, desk.tail(wish) as lines:
        async for each in lines:
            show(each)
    raise OperationError(f"the relay that listened at {socket} ended")


def _show_history(config: Config, window: Window, wish: TapFilter, as_json: bool) -> None:
    """Show what the engines remember."""
    _check_engine(wish.engine, tuple(config.engines))
    if not window.to_range(time_ns()):
        raise click.UsageError("--since is not before --until")
    logs.configure(sys.stderr, level=logging.WARNING)
    engines = list(config.engines) if wish.engine is None else [wish.engine]
    recalled, failed = _parted(asyncio.run(_fetch_histories(config, engines, window)))
    for engine, found in recalled.items():
        if found.oldest_ns is not None:
            oldest = format_time(found.oldest_ns)
            click.echo(f"engine {format_name(engine)} remembers nothing before {oldest}", err=True)
    told = (each for found in recalled.values() for each in found.events)
    show = _make_display(
        LineStyle(_wants_colour(as_json), len(engines) > 1, show_date=True), as_json
    )
    for each in sorted(told, key=lambda it: it.event.time_ns):
        if wish.accepts(each.event, each.routes):
            show(make_tapped_event(each.event, each.routes))
    for engine, failure in failed.items():
        click.echo(f"engine {format_name(engine)}: {describe_error(failure)}", err=True)
    if failed:
        raise SystemExit(1)


def _parted(
    found: Mapping[str, History | Exception],
) -> tuple[dict[str, History], dict[str, Exception]]:
    return (
        {engine: it for engine, it in found.items() if isinstance(it, History)},
        {engine: it for engine, it in found.items() if isinstance(it, Exception)},
    )


async def _fetch_histories(
    config: Config, engines: Sequence[str], window: Window
) -> dict[str, History | Exception]:
    """What each engine remembers, or why it cannot be asked."""
    places = resolve_endpoints({it: config.engines[it] for it in engines}, os.environ)

    async def one(engine: str, reach: Connect) -> History | Exception:
        try:
            return await fetch_history(config, engine, reach, window)
        except TimeoutError:
            return EngineUnavailable(f"no answer in {TIMEOUT_S:g} s")
        except ENGINE_ERRORS as failure:
            return failure

    asking = [one(engine, partial(connect, place, time_ns)) for engine, place in places.items()]
    return dict(zip(engines, await asyncio.gather(*asking), strict=True))


def _check_engine(engine: str | None, known: Sequence[str]) -> None:
    if engine is not None and engine not in known:
        raise click.UsageError(f"no engine {engine!r}; there are: {', '.join(known)}")


def _wants_colour(as_json: bool) -> bool:
    return not as_json and os.isatty(STDOUT)


def _make_display(look: LineStyle, as_json: bool) -> Display:
    def show(each: TappedEvent | EventsSkipped) -> None:
        if as_json:
            write_line(format_json(each))
        elif isinstance(each, EventsSkipped):
            write_line(format_skipped(each))
        else:
            write_line(format_line(each, look))

    return show


@contextmanager
def _end_quietly() -> Iterator[None]:
    """End without a word where somebody ends it, or reads no more.

    By exceptions, and not by the loop's own handlers: those wait for a terminal that was paused.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {it: signal.signal(it, interrupt) for it in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError, asyncio.CancelledError):
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_when_pipe_closes() -> None:
    """End once nobody reads the pipe that is written to, and not only when there is more."""
    if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
        loop = asyncio.get_running_loop()
        watching = asyncio.current_task()
        assert watching is not None

        def gone() -> None:
            loop.remove_reader(STDOUT)
            watching.cancel()

        loop.add_reader(STDOUT, gone)  # nothing is ever to be read there but that it is closed
