"""Reads the SQL files beside this module: statements by name, and schema versions by number."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain

MAX_ROWS = 128
"""How many rows one statement inserts or deletes at most."""

_ROW = re.compile(r"\(\?(, \?)*\)")


def read_sections(file: str, label: str) -> dict[str, str]:
    """Return the parts of a file that each start with ``-- LABEL: KEY``, by key, in file order."""
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    _, *parts = re.split(rf"^-- {label}: (\S+)$", text, flags=re.MULTILINE)
    return {key: sql.strip() for key, sql in zip(parts[::2], parts[1::2], strict=True)}


SQL = read_sections("queries.sql", "name")
"""Every statement that the store runs, by name."""


def run_for_rows(
    name: str, rows: Sequence[Sequence[object]], connection: sqlite3.Connection
) -> Iterator[tuple[int, sqlite3.Cursor]]:
    """Run a multi-row statement for all rows; yield the number of rows and the cursor of each run.

    Each run gives up Python's interpreter lock and has to get it back, so there should be few.
    Their sizes are powers of two, so that SQLite prepares only a few different statements.
    """
    begin = 0
    while left := len(rows) - begin:
        count = min(MAX_ROWS, 1 << (left.bit_length() - 1))
        values = tuple(chain.from_iterable(rows[begin : begin + count]))
        yield count, connection.execute(_repeat_row(name, count), values)
        begin += count


@cache
def _repeat_row(name: str, count: int) -> str:
    return _ROW.sub(lambda row: ", ".join([row[0]] * count), SQL[name])
