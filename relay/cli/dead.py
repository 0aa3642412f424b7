"""``relay dead``: the deliveries that were given up."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from relay.admin.operations import Desk, DeskError
from relay.cli import dead_letter
from relay.cli.connect import Keeping, desk, keeping
from relay.cli.options import Filters, config_option, read_id, selecting
from relay.cli.tables import columns, json_line, name
from relay.store.records import DeadLetter, Selection

AT_ONCE = 500
"""So many dead letters are read, or forgotten by their numbers, at once."""

_ALL = sys.maxsize

json_option = click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")


@click.group()
def dead() -> None:
    """Look at the deliveries that were given up; make them after all, or forget them.

    IDS are the numbers that `list` shows, or the ids of notifications (ntf_…).
    """


@dead.command("list")
@selecting
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@json_option
@config_option
def list_(chosen: Path | None, limit: int, as_json: bool, **given: Any) -> None:
    """Show dead letters, the newest first."""
    asyncio.run(_list(keeping(chosen), Filters(**given), limit, as_json))


@dead.command()
@click.argument("id_", metavar="ID", callback=read_id)
@json_option
@config_option
def show(chosen: Path | None, id_: int | str, as_json: bool) -> None:
    """Show all of one dead letter, or of those of one notification."""
    asyncio.run(_show(keeping(chosen), id_, as_json))


@dead.command()
@selecting
@click.option("--all", "everything", is_flag=True, help="All that there are.")
@config_option
def replay(chosen: Path | None, everything: bool, **given: Any) -> None:
    """Deliver dead letters after all, under the same ids.

    They stand behind what waits for the same destination about the same container.
    """
    asyncio.run(_replay(keeping(chosen), _meant(Filters(**given), everything)))


@dead.command()
@selecting
@click.option("--all", "everything", is_flag=True, help="All that there are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def drop(chosen: Path | None, everything: bool, yes: bool, **given: Any) -> None:
    """Forget dead letters for ever.

    Asks first, and then forgets those that it has counted, and none that died since. Where nobody
    can be asked it needs --yes.
    """
    filters = _meant(Filters(**given), everything)
    if not yes and not _somebody_is_there():
        raise click.UsageError("this cannot be undone, and nobody can be asked: give --yes")
    kept = keeping(chosen)
    if yes:
        dropped = asyncio.run(_drop(kept, filters))
    else:
        doomed = asyncio.run(_numbers(kept, filters))
        if doomed:
            _ask(Counter(doomed.values()))
        dropped = asyncio.run(_drop_these(kept, list(doomed)))  # the store was free meanwhile
    _report("forgot", dropped, filters)


def _meant(filters: Filters, everything: bool) -> Filters:
    if filters.narrow == everything:
        raise click.UsageError("say which: ids or filters, or else --all")
    return filters


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _ask(doomed: Counter[str]) -> None:
    of_each = ", ".join(f"{name(to)} {count}" for to, count in doomed.items())
    click.confirm(f"Forget {_letters(doomed.total())} ({of_each}) for ever?", abort=True)


def _report(done: str, count: int, filters: Filters) -> None:
    if not count and filters.ids:
        raise DeskError(f"{done} {_letters(count)}: none there is meant by these ids and filters")
    click.echo(f"{done} {_letters(count)}")


def _letters(count: int) -> str:
    return f"{count or 'no'} dead letter{'' if count == 1 else 's'}"


async def _list(kept: Keeping, filters: Filters, limit: int, as_json: bool) -> None:
    rows: list[tuple[str, ...]] = [dead_letter.HEADINGS]
    lines: list[str] = []
    shown = 0
    async with desk(kept) as found:
        selection = filters.selection(await found.desk.now_ns())
        async for each in _newest(found.desk, selection, limit):
            shown += 1
            if as_json:
                lines.append(json_line(dead_letter.document(each)))
            else:
                rows.append(dead_letter.row(each))
        more = sum((await found.desk.tally(selection)).values()) - shown if shown == limit else 0
    # only now: who reads slowly must not keep the store from a relay that starts
    if len(rows) > 1:
        lines = list(columns(rows))
    for line in lines:
        click.echo(line)
    if not shown:
        click.echo("no dead letters", err=True)
    if more > 0:
        click.echo(f"… and {more} more: --limit {shown + more} shows them", err=True)


async def _newest(desk: Desk, selection: Selection, most: int) -> AsyncIterator[DeadLetter]:
    below: int | None = None
    while most > 0 and (found := await desk.dead_letters(selection, min(most, AT_ONCE), below)):
        for each in found:
            yield each
        most -= len(found)
        below = found[-1].number


async def _show(kept: Keeping, id_: int | str, as_json: bool) -> None:
    async with desk(kept) as found:
        letters = [each async for each in _newest(found.desk, Selection((id_,)), _ALL)]
    if not letters:
        raise DeskError(f"there is no dead letter {id_}")
    if as_json:
        shown = "\n".join(json_line(dead_letter.document(each)) for each in letters)
    else:
        shown = "\n\n".join("\n".join(dead_letter.page(each)) for each in letters)
    click.echo(shown)


async def _replay(kept: Keeping, filters: Filters) -> None:
    async with desk(kept) as found:
        selection = filters.selection(await found.desk.now_ns())
        replayed = await found.desk.replay(selection)
    for to, count in replayed.left.items():
        click.echo(f"{_letters(count)} for {name(to)} stay: it is configured no more", err=True)
    _report("replayed", replayed.count, filters)
    if replayed.count and not found.is_running:
        click.echo("no relay is running: they are sent when it is", err=True)


async def _drop(kept: Keeping, filters: Filters) -> int:
    async with desk(kept) as found:
        return await found.desk.drop(filters.selection(await found.desk.now_ns()))


async def _numbers(kept: Keeping, filters: Filters) -> dict[int, str]:
    """Those of the letters that are meant, each with its destination."""
    async with desk(kept) as found:
        selection = filters.selection(await found.desk.now_ns())
        return {
            each.number: each.destination async for each in _newest(found.desk, selection, _ALL)
        }


async def _drop_these(kept: Keeping, numbers: list[int]) -> int:
    async with desk(kept) as found:
        return sum(
            [
                await found.desk.drop(Selection(tuple(numbers[begin : begin + AT_ONCE])))
                for begin in range(0, len(numbers), AT_ONCE)
            ]
        )
