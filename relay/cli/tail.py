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
from relay.admin.client import NobodyListens, remote_desk
from relay.admin.control_socket import socket_path
from relay.admin.operations import DeskError
from relay.admin.tap import Lost, Seen, Wish, seen
from relay.cli.connect import keeping
from relay.cli.event_line import Look, document, line, lost_line
from relay.cli.options import config_option, find, read, read_time
from relay.cli.output import STDOUT, write_out
from relay.cli.tables import moment, name
from relay.config import Config
from relay.dryrun.history import ANSWER_S, Recalled, Time, Window, recall
from relay.ingest.docker.engine.client import FAILURES, EngineUnavailable, connect, words
from relay.ingest.docker.engine.endpoint import endpoints
from relay.ingest.docker.stream import Connect

Show = Callable[[Seen | Lost], None]

PAST_INSTEAD = "read what the engines remember with --since 10m"


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Also events that no route sends anywhere.")
@click.option("--engine", help="Only this engine's events.")
@click.option(
    "--since",
    metavar="TIME",
    callback=read_time,
    help="Show what the engines remember from then on, and end: 10m, or 2026-11-23T06:48:34Z.",
)
@click.option("--until", metavar="TIME", callback=read_time, help="With --since: up to then.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each event.")
def tail(
    chosen: Path | None,
    everything: bool,
    engine: str | None,
    since: Time | None,
    until: Time | None,
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
    wish = Wish(everything, engine)
    with _quiet_end():
        if since is None:
            _follow(chosen, wish, as_json)
        else:
            window = Window(since) if until is None else Window(since, until)
            _look_back(read(chosen), window, wish, as_json)


def _follow(chosen: Path | None, wish: Wish, as_json: bool) -> None:
    """Show what the relay that runs decides, until somebody ends it."""
    if find(chosen) is None:
        raise DeskError(
            "no relay can be asked without a configuration file: give the one that it runs with "
            f"(--config FILE, or $RELAY_CONFIG), or {PAST_INSTEAD}"
        )
    kept = keeping(chosen)
    _check_engine(wish.engine, kept.outline.engines)
    several = wish.engine is None and len(kept.outline.engines) > 1
    show = _shower(Look(_coloured(as_json), several), as_json)
    try:
        asyncio.run(_watch(socket_path(kept.store), wish, show))
    except NobodyListens as error:
        raise DeskError(f"no relay is running ({error}): start one, or {PAST_INSTEAD}") from error


async def _watch(socket: Path, wish: Wish, show: Show) -> None:
    _end_with_the_reader()
    async with remote_desk(socket) as desk, desk.tail(wish) as lines:
        async for each in lines:
            show(each)
    raise DeskError(f"the relay that listened at {socket} ended")


def _look_back(config: Config, window: Window, wish: Wish, as_json: bool) -> None:
    """Show what the engines remember."""
    _check_engine(wish.engine, tuple(config.engines))
    if not window.at(time_ns()):
        raise click.UsageError("--since is not before --until")
    logs.configure(sys.stderr, level=logging.WARNING)
    engines = list(config.engines) if wish.engine is None else [wish.engine]
    recalled, failed = _parted(asyncio.run(_recall(config, engines, window)))
    for engine, found in recalled.items():
        if found.reaches_ns is not None:
            oldest = moment(found.reaches_ns)
            click.echo(f"engine {name(engine)} remembers nothing before {oldest}", err=True)
    told = (each for found in recalled.values() for each in found.told)
    show = _shower(Look(_coloured(as_json), len(engines) > 1, date=True), as_json)
    for each in sorted(told, key=lambda it: it.event.time_ns):
        if wish.grants(each.event, each.steps):
            show(seen(each.event, each.steps))
    for engine, failure in failed.items():
        click.echo(f"engine {name(engine)}: {words(failure)}", err=True)
    if failed:
        raise SystemExit(1)


def _parted(
    found: Mapping[str, Recalled | Exception],
) -> tuple[dict[str, Recalled], dict[str, Exception]]:
    return (
        {engine: it for engine, it in found.items() if isinstance(it, Recalled)},
        {engine: it for engine, it in found.items() if isinstance(it, Exception)},
    )


async def _recall(
    config: Config, engines: Sequence[str], window: Window
) -> dict[str, Recalled | Exception]:
    """What each engine remembers, or why it cannot be asked."""
    places = endpoints({it: config.engines[it] for it in engines}, os.environ)

    async def one(engine: str, reach: Connect) -> Recalled | Exception:
        try:
            return await recall(config, engine, reach, window)
        except TimeoutError:
            return EngineUnavailable(f"no answer in {ANSWER_S:g} s")
        except FAILURES as failure:
            return failure

    asking = [one(engine, partial(connect, place, time_ns)) for engine, place in places.items()]
    return dict(zip(engines, await asyncio.gather(*asking), strict=True))


def _check_engine(engine: str | None, known: Sequence[str]) -> None:
    if engine is not None and engine not in known:
        raise click.UsageError(f"no engine {engine!r}; there are: {', '.join(known)}")


def _coloured(as_json: bool) -> bool:
    return not as_json and os.isatty(STDOUT)


def _shower(look: Look, as_json: bool) -> Show:
    def show(each: Seen | Lost) -> None:
        if as_json:
            write_out(document(each))
        elif isinstance(each, Lost):
            write_out(lost_line(each))
        else:
            write_out(line(each, look))

    return show


@contextmanager
def _quiet_end() -> Iterator[None]:
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


def _end_with_the_reader() -> None:
    """End once nobody reads the pipe that is written to, and not only when there is more."""
    if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
        loop = asyncio.get_running_loop()
        watching = asyncio.current_task()
        assert watching is not None

        def gone() -> None:
            loop.remove_reader(STDOUT)
            watching.cancel()

        loop.add_reader(STDOUT, gone)  # nothing is ever to be read there but that it is closed
