"""``relay dead``: the deliveries that were given up."""

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
from relay.cli.tables import format_name, format_table, to_json_line
from relay.store.records import DeadLetter, Selection

PAGE_SIZE = 500
"""So many dead letters are read, or forgotten by their numbers, at once."""

_NO_LIMIT = sys.maxsize

json_option = click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")


@click.group()
def dead() -> None:
    """Look at the deliveries that were given up; make them after all, or forget them.

    IDS are the numbers that `list` shows, or the ids of notifications (ntf_…).
    """


@dead.command("list")
@selection_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@json_option
@config_option
def list_(chosen: Path | None, limit: int, as_json: bool, **given: Any) -> None:
    """Show dead letters, the newest first."""
    asyncio.run(_list(locate_store(chosen), Filters(**given), limit, as_json))


@dead.command()
@click.argument("id_", metavar="ID", callback=convert_id)
@json_option
@config_option
def show(chosen: Path | None, id_: int | str, as_json: bool) -> None:
    """Show all of one dead letter, or of those of one notification."""
    asyncio.run(_show(locate_store(chosen), id_, as_json))


@dead.command()
@selection_options
@click.option("--all", "everything", is_flag=True, help="All that there are.")
@config_option
def replay(chosen: Path | None, everything: bool, **given: Any) -> None:
    """Deliver dead letters after all, under the same ids.

    They stand behind what waits for the same destination about the same container.
    """
    asyncio.run(_replay(locate_store(chosen), _require_selection(Filters(**given), everything)))


@dead.command()
@selection_options
@click.option("--all", "everything", is_flag=True, help="All that there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def drop(chosen: Path | None, everything: bool, yes: bool, **given: Any) -> None:
    """Forget dead letters for ever.

    Asks first, and then forgets those that it has counted, and none that died since. Where nobody
    can be asked it needs --yes.
    """
    filters = _require_selection(Filters(**given), everything)
    if not yes and not _is_interactive():
        raise click.UsageError("this cannot be undone, and nobody can be asked: give --yes")
    kept = locate_store(chosen)
    if yes:
        dropped = asyncio.run(_drop(kept, filters))
    else:
        doomed = asyncio.run(_find_numbers(kept, filters))
        if doomed:
            _confirm_drop(Counter(doomed.values()))
        dropped = asyncio.run(_drop_numbers(kept, list(doomed)))  # the store was free meanwhile
    _report_count("forgot", dropped, filters)


def _require_selection(filters: Filters, everything: bool) -> Filters:
    if filters.narrow == everything:
        raise click.UsageError("say which: ids or filters, or else --all")
    return filters


def _is_interactive() -> bool:
    return sys.stdin.isatty()


def _confirm_drop(doomed: Counter[str]) -> None:
    of_each = ", ".join(f"{format_name(to)} {count}" for to, count in doomed.items())
    click.confirm(f"Forget {_count_letters(doomed.total())} ({of_each}) for ever?", abort=True)


def _report_count(done: str, count: int, filters: Filters) -> None:
    if not count and filters.ids:
        raise OperationError(
            f"{done} {_count_letters(count)}: none there is meant by these ids and filters"
        )
    click.echo(f"{done} {_count_letters(count)}")


def _count_letters(count: int) -> str:
    return f"{count or 'no'} dead letter{'' if count == 1 else 's'}"


async def _list(kept: StoreLocation, filters: Filters, limit: int, as_json: bool) -> None:
    rows: list[tuple[str, ...]] = [dead_letter.HEADINGS]
    lines: list[str] = []
    shown = 0
    async with connect(kept) as found:
        selection = filters.to_selection(await found.operations.now_ns())
        async for each in _fetch_newest(found.operations, selection, limit):
            shown += 1
            if as_json:
                lines.append(to_json_line(dead_letter.to_document(each)))
            else:
                rows.append(dead_letter.format_row(each))
        more = (
            sum((await found.operations.count_dead_letters(selection)).values()) - shown
            if shown == limit
            else 0
        )
    # only now: who reads slowly must not keep the store from a relay that starts
    if len(rows) > 1:
        lines = list(format_table(rows))
    for line in lines:
        click.echo(line)
    if not shown:
        click.echo("no dead letters", err=True)
    if more > 0:
        click.echo(f"… and {more} more: --limit {shown + more} shows them", err=True)


async def _fetch_newest(
    desk: AdminOperations, selection: Selection, most: int
) -> AsyncIterator[DeadLetter]:
    below: int | None = None
    while most > 0 and (
        found := await desk.list_dead_letters(selection, min(most, PAGE_SIZE), below)
    ):
        for each in found:
            yield each
        most -= len(found)
        below = found[-1].number


async def _show(kept: StoreLocation, id_: int | str, as_json: bool) -> None:
    async with connect(kept) as found:
        letters = [
            each async for each in _fetch_newest(found.operations, Selection((id_,)), _NO_LIMIT)
        ]
    if not letters:
        raise OperationError(f"there is no dead letter {id_}")
    if as_json:
        shown = "\n".join(to_json_line(dead_letter.to_document(each)) for each in letters)
    else:
        shown = "\n\n".join("\n".join(dead_letter.format_page(each)) for each in letters)
    click.echo(shown)


async def _replay(kept: StoreLocation, filters: Filters) -> None:
    async with connect(kept) as found:
        selection = filters.to_selection(await found.operations.now_ns())
        replayed = await found.operations.replay_dead_letters(selection)
    for to, count in replayed.left.items():
        click.echo(
            f"{_count_letters(count)} for {format_name(to)} stay: it is configured no more",
            err=True,
        )
    _report_count("replayed", replayed.count, filters)
    if replayed.count and not found.is_daemon:
        click.echo("no relay is running: they are sent when it is", err=True)


async def _drop(kept: StoreLocation, filters: Filters) -> int:
    async with connect(kept) as found:
        return await found.operations.drop_dead_letters(
            filters.to_selection(await found.operations.now_ns())
        )


async def _find_numbers(kept: StoreLocation, filters: Filters) -> dict[int, str]:
    """Those of the letters that are meant, each with its destination."""
    async with connect(kept) as found:
        selection = filters.to_selection(await found.operations.now_ns())
        return {
            each.number: each.destination
            async for each in _fetch_newest(found.operations, selection, _NO_LIMIT)
        }


async def _drop_numbers(kept: StoreLocation, numbers: list[int]) -> int:
    async with connect(kept) as found:
        return sum(
            [
                await found.operations.drop_dead_letters(
                    Selection(tuple(numbers[begin : begin + PAGE_SIZE]))
                )
                for begin in range(0, len(numbers), PAGE_SIZE)
            ]
        )
