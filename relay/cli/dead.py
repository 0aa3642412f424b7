"""``relay dead``: shows, replays and drops dead letters, the deliveries that were given up."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from relay.admin.operations import AdminOperations, OperationError
from relay.cli import dead_letter
from relay.cli.connect import StoreLocation, connect, locate_store
from relay.cli.options import Filters, config_option, convert_id, selection_options
from relay.cli.tables import format_count, format_name, format_table, to_json_line
from relay.store.records import DeadLetter, Selection

PAGE_SIZE = 500
"""How many dead letters are read, or dropped by their numbers, at a time."""

_NO_LIMIT = sys.maxsize

json_option = click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
all_option = click.option("--all", "everything", is_flag=True, help="Every dead letter.")


@click.group()
def dead() -> None:
    """Show, replay or drop dead letters: the deliveries that were given up.

    IDS are the numbers that `list` shows, or the ids of notifications (ntf_…).
    """


@dead.command("list")
@selection_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@json_option
@config_option
def list_(config_file: Path | None, limit: int, as_json: bool, **options: Any) -> None:
    """List dead letters, the newest first."""
    asyncio.run(_list(locate_store(config_file), Filters(**options), limit, as_json))


@dead.command()
@click.argument("id_", metavar="ID", callback=convert_id)
@json_option
@config_option
def show(config_file: Path | None, id_: int | str, as_json: bool) -> None:
    """Show all of one dead letter, or of all those of one notification."""
    asyncio.run(_show(locate_store(config_file), id_, as_json))


@dead.command()
@selection_options
@all_option
@config_option
def replay(config_file: Path | None, everything: bool, **options: Any) -> None:
    """Queue dead letters for delivery again, under the same ids.

    Each goes behind what already waits for the same destination about the same container.
    """
    filters = _require_selection(Filters(**options), everything)
    asyncio.run(_replay(locate_store(config_file), filters))


@dead.command()
@selection_options
@all_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@config_option
def drop(config_file: Path | None, everything: bool, yes: bool, **options: Any) -> None:
    """Drop dead letters. This cannot be undone.

    Counts them, asks for confirmation, and drops those that were counted; what becomes a dead
    letter meanwhile stays. Without a terminal to ask on, --yes is required.
    """
    filters = _require_selection(Filters(**options), everything)
    if not yes and not _is_interactive():
        raise click.UsageError("this cannot be undone, and there is no terminal to ask: give --yes")
    location = locate_store(config_file)
    if yes:
        count = asyncio.run(_drop(location, filters))
    else:
        # The store is closed while the person decides, so that a relay can start.
        found = asyncio.run(_find_numbers(location, filters))
        if found:
            _confirm_drop(Counter(found.values()))
        count = asyncio.run(_drop_numbers(location, list(found)))
    _report_count("dropped", count, filters)


def _require_selection(filters: Filters, everything: bool) -> Filters:
    """Return the filters; raise `click.UsageError` unless either they or --all are given."""
    if filters.is_empty != everything:
        raise click.UsageError("say which dead letters: give ids or filters, or else --all")
    return filters


def _is_interactive() -> bool:
    return sys.stdin.isatty()


def _confirm_drop(counts: Counter[str]) -> None:
    """Ask; ``counts`` has the number of dead letters by destination. Exits the command on a no."""
    by_destination = ", ".join(f"{format_name(to)} {count}" for to, count in counts.items())
    letters = _count_letters(counts.total())
    click.confirm(f"Drop {letters} ({by_destination})? This cannot be undone", abort=True)


def _report_count(verb: str, count: int, filters: Filters) -> None:
    if not count and filters.ids:
        raise OperationError(
            f"{verb} {_count_letters(count)}: none has one of these ids and passes the filters"
        )
    click.echo(f"{verb} {_count_letters(count)}")


def _count_letters(count: int) -> str:
    return format_count(count, "dead letter", "dead letters")


async def _list(location: StoreLocation, filters: Filters, limit: int, as_json: bool) -> None:
    found: list[DeadLetter] = []
    more = 0
    async with connect(location) as connection:
        operations = connection.operations
        selection = filters.to_selection(await operations.now_ns())
        async for letter in _fetch_newest(operations, selection, limit):
            found.append(letter)
        if len(found) == limit:
            counts = await operations.count_dead_letters(selection)
            more = sum(counts.values()) - limit
    # The store is closed now: a slow reader of the output must not keep a relay from starting.
    if as_json:
        for letter in found:
            click.echo(to_json_line(dead_letter.to_document(letter)))
    elif found:
        for line in format_table([dead_letter.HEADINGS, *map(dead_letter.format_row, found)]):
            click.echo(line)
    if not found:
        click.echo("no dead letters", err=True)
    if more > 0:
        click.echo(f"… and {more} more: --limit {limit + more} shows them", err=True)


async def _fetch_newest(
    operations: AdminOperations, selection: Selection, limit: int
) -> AsyncIterator[DeadLetter]:
    below: int | None = None
    while limit > 0 and (
        page := await operations.list_dead_letters(selection, min(limit, PAGE_SIZE), below)
    ):
        for letter in page:
            yield letter
        limit -= len(page)
        below = page[-1].number


async def _show(location: StoreLocation, id_: int | str, as_json: bool) -> None:
    async with connect(location) as connection:
        newest = _fetch_newest(connection.operations, Selection((id_,)), _NO_LIMIT)
        letters = [letter async for letter in newest]
    if not letters:
        raise OperationError(
            f"there is no dead letter {id_}: relay dead list shows those there are"
        )
    if as_json:
        output = "\n".join(to_json_line(dead_letter.to_document(letter)) for letter in letters)
    else:
        output = "\n\n".join("\n".join(dead_letter.format_page(letter)) for letter in letters)
    click.echo(output)


async def _replay(location: StoreLocation, filters: Filters) -> None:
    async with connect(location) as connection:
        selection = filters.to_selection(await connection.operations.now_ns())
        result = await connection.operations.replay_dead_letters(selection)
    for to, count in result.left.items():
        verb = "stays" if count == 1 else "stay"
        click.echo(
            f"{_count_letters(count)} for {format_name(to)} {verb}: no such destination is "
            "configured any longer",
            err=True,
        )
    _report_count("replayed", result.count, filters)
    if result.count and not connection.is_daemon:
        click.echo("no relay is running: they are sent when one starts", err=True)


async def _drop(location: StoreLocation, filters: Filters) -> int:
    async with connect(location) as connection:
        selection = filters.to_selection(await connection.operations.now_ns())
        return await connection.operations.drop_dead_letters(selection)


async def _find_numbers(location: StoreLocation, filters: Filters) -> dict[int, str]:
    """Return the numbers of the selected dead letters, each with its destination."""
    async with connect(location) as connection:
        selection = filters.to_selection(await connection.operations.now_ns())
        newest = _fetch_newest(connection.operations, selection, _NO_LIMIT)
        return {letter.number: letter.destination async for letter in newest}


async def _drop_numbers(location: StoreLocation, numbers: list[int]) -> int:
    count = 0
    async with connect(location) as connection:
        for begin in range(0, len(numbers), PAGE_SIZE):
            page = Selection(tuple(numbers[begin : begin + PAGE_SIZE]))
            count += await connection.operations.drop_dead_letters(page)
    return count
