"""``relay tail``: shows events as they happen, or as engines remember them."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.admin.client import NoDaemon, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operation import OperationError
from relay.admin.operations import DAEMON_INFO
from relay.admin.tap import EventsSkipped, TapFilter, TappedEvent, make_tapped_event
from relay.cli.connect import find_zone, locate_store
from relay.cli.event_line import LineStyle, format_json, format_line, format_skipped
from relay.cli.options import (
    TimeOption,
    check_known,
    complete_engine,
    config_option,
    convert_time,
    find_config,
    read_config,
    resolve_time,
)
from relay.cli.output import STDOUT, write_line
from relay.cli.tables import format_count, format_name, format_time
from relay.config import Config
from relay.core.tasks import spawn
from relay.core.zone import TimeZone
from relay.dryrun.history import TIMEOUT_S, History, Window, fetch_history
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import resolve_endpoints
from relay.ingest.docker.engine.errors import ENGINE_ERRORS, EngineUnavailable, describe_error
from relay.ingest.docker.stream import Connect

Display = Callable[[TappedEvent | EventsSkipped], None]

USE_HISTORY = "read what the engines remember with --since 10m"


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Also events that no route sends anywhere.")
@click.option(
    "--engine",
    metavar="NAME",
    shell_complete=complete_engine,
    help="Only this engine's events.",
)
@click.option("--host", metavar="NAME", help="Only events of this host, as in web-17 or 'web-*'.")
@click.option(
    "--since",
    metavar="TIME",
    callback=convert_time,
    help="Show what the engines remember since then, and end: 10m, 14:00, or 2026-11-23 08:29.",
)
@click.option("--until", metavar="TIME", callback=convert_time, help="With --since: until then.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each event.")
def tail(
    config_file: Path | None,
    everything: bool,
    engine: str | None,
    host: str | None,
    since: TimeOption | None,
    until: TimeOption | None,
    as_json: bool,
) -> None:
    """Show each event as it happens, and the routes that match it.

    The running relay is asked, and shows its own decisions. Without --all only events that a route
    sends somewhere are shown. Ends with Ctrl-C; if relay ends first, the exit code is 1.

    With --since no relay has to run: the engines are asked for the events that they remember
    (Docker the last 256; those of 'type: nats' none), and these are routed by the configuration as
    it is now. Exit code 1 if an engine cannot be asked. A time without an offset is in the
    configuration's time zone; 14:00 is the last one for --since, and for --until the first one
    after that.
    """
    if until is not None and since is None:
        raise click.UsageError("--until needs --since")
    tap_filter = TapFilter(everything, engine, host)
    with _end_quietly():
        if since is None:
            _follow_relay(config_file, tap_filter, as_json)
        else:
            config = read_config(config_file)
            window = _make_window(since, until, TimeZone(config.time_zone), time_ns())
            _show_history(config, window, tap_filter, as_json)


def _make_window(
    since: TimeOption,
    until: TimeOption | None,
    zone: TimeZone,
    now_ns: int,
) -> Window:
    """Return the period; durations still count back from now, by the clock of each engine."""
    since_ns = resolve_time("--since", since, zone, now_ns)
    begin = since if isinstance(since, timedelta) else since_ns
    if until is None:
        return Window(begin)
    if isinstance(until, timedelta):
        return Window(begin, until)
    return Window(begin, resolve_time("--until", until, zone, since_ns, ahead=True))


def _follow_relay(config_file: Path | None, tap_filter: TapFilter, as_json: bool) -> None:
    """Show what the running relay decides, until it ends or this command is interrupted."""
    if not find_config(config_file).is_stored:
        raise OperationError(
            "without a configuration file there is no running relay to ask: name the file that it "
            "runs with (--config FILE, or $RELAY_CONFIG), or set the variables that it runs with, "
            f"or {USE_HISTORY}"
        )
    location = locate_store(config_file)
    check_known("engine", tap_filter.engine, location.outline.engines)
    several = tap_filter.engine is None and len(location.outline.engines) > 1
    style = LineStyle(_wants_colour(as_json), several)
    try:
        asyncio.run(_tail_relay(socket_path(location.path), tap_filter, style, as_json))
    except NoDaemon as error:
        raise OperationError(
            f"no relay is running ({error}): start one, or {USE_HISTORY}"
        ) from error


async def _tail_relay(socket: Path, tap_filter: TapFilter, style: LineStyle, as_json: bool) -> None:
    _end_when_pipe_closes()
    async with connect_to_daemon(socket) as daemon:
        zone = find_zone((await daemon.call(DAEMON_INFO, None)).time_zone)
        display = _make_display(replace(style, zone=zone), as_json)
        async with daemon.tail(tap_filter) as items:
            async for item in items:
                display(item)
    raise OperationError(f"the relay that listened at {socket} ended")


def _show_history(config: Config, window: Window, tap_filter: TapFilter, as_json: bool) -> None:
    """Show what the engines remember, in order of time."""
    check_known("engine", tap_filter.engine, config.engines)
    if tap_filter.engine in config.nats_engines or not config.docker_engines:
        raise click.UsageError(
            "an engine of 'type: nats' remembers nothing: use --since on the host itself"
        )
    if not window.to_range(time_ns()):
        raise click.UsageError("--since is not before --until")
    logs.configure(sys.stderr, level="warning")
    zone = TimeZone(config.time_zone)
    engines = list(config.docker_engines) if tap_filter.engine is None else [tap_filter.engine]
    results = asyncio.run(_fetch_histories(config, engines, window))
    histories = {engine: it for engine, it in results.items() if isinstance(it, History)}
    errors = {engine: it for engine, it in results.items() if isinstance(it, Exception)}
    for engine, history in histories.items():
        if history.oldest_ns is not None:
            oldest = format_time(history.oldest_ns, zone)
            click.echo(f"engine {format_name(engine)} remembers nothing before {oldest}", err=True)
    style = LineStyle(_wants_colour(as_json), len(engines) > 1, show_date=True, zone=zone)
    display = _make_display(style, as_json)
    events = [it for history in histories.values() for it in history.events]
    shown = [it for it in events if tap_filter.accepts(it.event, it.routes)]
    for routed in sorted(shown, key=lambda it: it.event.time_ns):
        display(make_tapped_event(routed.event, routed.routes, routed.effects))
    if histories and not shown:
        click.echo(_describe_nothing(len(events)), err=True)
    for engine, error in errors.items():
        click.echo(f"engine {format_name(engine)}: {describe_error(error)}", err=True)
    if errors:
        raise SystemExit(1)


def _describe_nothing(events: int) -> str:
    """Say why nothing is shown, although so many events were found."""
    if not events:
        return "nothing to show: no engine remembers an event of that time"
    count, were = format_count(events, "event", "events"), "was" if events == 1 else "were"
    return f"nothing to show: there {were} {count} that no route sends anywhere: --all shows them"


async def _fetch_histories(
    config: Config, engines: Sequence[str], window: Window
) -> dict[str, History | Exception]:
    """Ask all engines at once; return each one's history, or why it gave none."""
    endpoints = resolve_endpoints({it: config.docker_engines[it] for it in engines}, os.environ)

    async def fetch(engine: str, connect_engine: Connect) -> History | Exception:
        try:
            return await fetch_history(config, engine, connect_engine, window)
        except TimeoutError:
            return EngineUnavailable(f"no answer in {TIMEOUT_S:g} s")
        except ENGINE_ERRORS as error:
            return error

    fetching: dict[str, asyncio.Task[History | Exception]] = {}
    async with asyncio.TaskGroup() as tasks:
        for engine, endpoint in endpoints.items():
            work = fetch(engine, partial(connect, endpoint, time_ns))
            fetching[engine] = spawn(work, f"engine {engine}: history", tasks)
    return {engine: task.result() for engine, task in fetching.items()}


def _wants_colour(as_json: bool) -> bool:
    return not as_json and os.isatty(STDOUT)


def _make_display(style: LineStyle, as_json: bool) -> Display:
    def display(item: TappedEvent | EventsSkipped) -> None:
        if as_json:
            write_line(format_json(item))
        elif isinstance(item, EventsSkipped):
            write_line(format_skipped(item))
        else:
            write_line(format_line(item, style))

    return display


@contextmanager
def _end_quietly() -> Iterator[None]:
    """End without a message on SIGINT or SIGTERM, or if the reader of the output is gone.

    The signals raise exceptions instead of setting a flag in the event loop: the loop may be stuck
    in a write to a terminal that was paused.
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
    """End as soon as the pipe at standard output has no reader, not only at the next line."""
    if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def end() -> None:
            loop.remove_reader(STDOUT)
            task.cancel()

        # The writing end of a pipe becomes readable only when the reading end is closed.
        loop.add_reader(STDOUT, end)
