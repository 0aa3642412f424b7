"""Reads SQL that stands in files beside this module: named, and commented where it is written."""

import re
from importlib.resources import files


def sections(file: str, label: str) -> dict[str, str]:
    """The parts of a file that begin with a line ``-- LABEL: KEY``, by key, in their order."""
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    _, *parts = re.split(rf"^-- {label}: (\S+)$", text, flags=re.MULTILINE)
    return {key: sql.strip() for key, sql in zip(parts[::2], parts[1::2], strict=True)}


SQL = sections("queries.sql", "name")
"""Every statement that the store runs, by name."""
