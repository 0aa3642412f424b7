"""``relay dead``: shows, replays and drops dead letters, the deliveries that were given up."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from relay.admin.operation import OperationError
from relay.admin.operations import AdminOperations
from relay.admin.requests import PAGE_SIZE
from relay.cli.connect import Connection, StoreLocation, connect, locate_store
from relay.cli.dead_letter_table import HEADINGS, format_page, format_row, to_document
from relay.cli.group import Group
from relay.cli.options import (
    Filters,
    check_known,
    config_option,
    convert_id,
    json_option,
    limit_option,
    selection_options,
)
from relay.cli.tables import format_count, format_name, format_table, to_json_line
from relay.store.records import DeadLetter, Selection

_NO_LIMIT = sys.maxsize

all_option = click.option("--all", "everything", is_flag=True, help="Every dead letter.")


@click.group(cls=Group)
def dead() -> None:
    """Show, replay or drop dead letters: the deliveries that were given up.

    IDS are the numbers that `list` shows, or the ids of notifications (ntf_…).
    """


@dead.command("list")
@selection_options
@limit_option("dead letters")
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

    Each goes behind what already waits for the same destination about the same container. One about
    an incident that has moved on stays a dead letter: the incident was reported again since, or it
    is no longer as the message says.
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
            counts = Counter(found.values()).items()
            by_destination = ", ".join(f"{format_name(to)} {count}" for to, count in counts)
            question = f"Drop {_count_dead_letters(len(found))} ({by_destination})?"
            click.confirm(f"{question} This cannot be undone", abort=True)
        count = asyncio.run(_drop_numbers(location, list(found)))
    _report_count("dropped", count, filters)


def _require_selection(filters: Filters, everything: bool) -> Filters:
    """Return the filters; raise `click.UsageError` unless either they or --all are given."""
    if filters.is_empty != everything:
        raise click.UsageError("say which dead letters: give ids or filters, or else --all")
    return filters


def _is_interactive() -> bool:
    return sys.stdin.isatty()


def _report_count(verb: str, count: int, filters: Filters) -> None:
    if not count and filters.ids:
        raise OperationError(
            f"{verb} {_count_dead_letters(count)}: none has one of these ids and passes the filters"
        )
    click.echo(f"{verb} {_count_dead_letters(count)}")


def _count_dead_letters(count: int) -> str:
    return format_count(count, "dead letter", "dead letters")


async def _list(location: StoreLocation, filters: Filters, limit: int, as_json: bool) -> None:
    found: list[DeadLetter] = []
    more = 0
    async with connect(location) as connection:
        operations = connection.operations
        selection = await _select(filters, connection, location)
        async for dead_letter in _fetch_newest(operations, selection, limit):
            found.append(dead_letter)
        if len(found) == limit:
            counts = await operations.count_dead_letters(selection)
            more = sum(counts.values()) - limit
    # The store is closed now: a slow reader of the output must not keep a relay from starting.
    if as_json:
        for dead_letter in found:
            click.echo(to_json_line(to_document(dead_letter)))
    elif found:
        for line in format_table(
            [HEADINGS, *(format_row(each, connection.zone) for each in found)]
        ):
            click.echo(line)
    if not found:
        click.echo("no dead letters", err=True)
    if more > 0:
        click.echo(f"… and {more} more: --limit {limit + more} shows them", err=True)


async def _select(filters: Filters, connection: Connection, location: StoreLocation) -> Selection:
    """Return the selection of these filters.

    Raises `click.UsageError` if a name is neither configured nor that of any dead letter.
    """
    operations, outline = connection.operations, location.outline
    by_destination = Selection(destination=filters.destination)
    by_route = Selection(route=filters.route)
    for noun, name, known, selection in (
        ("destination", filters.destination, outline.destinations, by_destination),
        ("route", filters.route, outline.routes, by_route),
    ):
        is_known = name is None or name in known or await operations.count_dead_letters(selection)
        if not is_known:
            check_known(noun, name, known)
    return filters.to_selection(connection.zone, await operations.now_ns())


async def _fetch_newest(
    operations: AdminOperations, selection: Selection, limit: int
) -> AsyncIterator[DeadLetter]:
    below: int | None = None
    while limit > 0 and (
        page := await operations.list_dead_letters(selection, min(limit, PAGE_SIZE), below)
    ):
        for dead_letter in page:
            yield dead_letter
        limit -= len(page)
        below = page[-1].number


async def _show(location: StoreLocation, id_: int | str, as_json: bool) -> None:
    async with connect(location) as connection:
        newest = _fetch_newest(connection.operations, Selection((id_,)), _NO_LIMIT)
        found = [dead_letter async for dead_letter in newest]
    if not found:
        raise OperationError(
            f"there is no dead letter {id_}: relay dead list shows those there are"
        )
    if as_json:
        output = "\n".join(to_json_line(to_document(dead_letter)) for dead_letter in found)
    else:
        output = "\n\n".join(
            "\n".join(format_page(dead_letter, connection.zone)) for dead_letter in found
        )
    click.echo(output)


async def _replay(location: StoreLocation, filters: Filters) -> None:
    async with connect(location) as connection:
        selection = await _select(filters, connection, location)
        result = await connection.operations.replay_dead_letters(selection)
    for to, count in result.left.items():
        verb = "stays" if count == 1 else "stay"
        click.echo(
            f"{_count_dead_letters(count)} for {format_name(to)} {verb}: no such destination is "
            "configured",
            err=True,
        )
    if result.superseded:
        click.echo(_describe_superseded(result.superseded), err=True)
    if result.superseded and not result.count and filters.ids:
        raise OperationError("replayed no dead letters")
    _report_count("replayed", result.count, filters)
    if result.count and not connection.is_daemon:
        click.echo("no relay is running: they are sent when one starts", err=True)


def _describe_superseded(count: int) -> str:
    verb, they = ("stays", "it tells") if count == 1 else ("stay", "they tell")
    return (
        f"{_count_dead_letters(count)} {verb}: {they} of incidents that have changed since, and "
        "would be taken for news. relay dead show ID shows them, relay dead drop ID removes them"
    )


async def _drop(location: StoreLocation, filters: Filters) -> int:
    async with connect(location) as connection:
        selection = await _select(filters, connection, location)
        return await connection.operations.drop_dead_letters(selection)


async def _find_numbers(location: StoreLocation, filters: Filters) -> dict[int, str]:
    """Return the numbers of the selected dead letters, each with its destination."""
    async with connect(location) as connection:
        selection = await _select(filters, connection, location)
        newest = _fetch_newest(connection.operations, selection, _NO_LIMIT)
        return {dead_letter.number: dead_letter.destination async for dead_letter in newest}


async def _drop_numbers(location: StoreLocation, numbers: list[int]) -> int:
    count = 0
    async with connect(location) as connection:
        for begin in range(0, len(numbers), PAGE_SIZE):
            page = Selection(tuple(numbers[begin : begin + PAGE_SIZE]))
            count += await connection.operations.drop_dead_letters(page)
    return count
