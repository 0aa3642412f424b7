"""What the program can print, and what of a quotation it does not."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.unit.docs.pages import ROOT, Block

SYSTEM = {"No such file or directory", "Connection refused", "Permission denied"}
"""What the system says."""
CHOSEN = {
    *("config.yaml", "destinations.ops.url_file", "/run/secrets/slack", "destinations.ops.url"),
    *("routes", "match.acton", "acton", "opps", "destination ops"),
    *("ops", "relay destination enable ops", "to /events", "to /containers/json"),
}
"""What the pages chose for their examples."""


def check_quotation(block: Block) -> Iterator[str]:
    """Yield the pieces of a quoted message that relay never prints."""
    for line in block.text.splitlines():
        for piece in find_unsaid(line):
            yield f"relay prints nothing with {piece!r}"


def find_unsaid(message: str) -> list[str]:
    """Return the pieces of a message that stand nowhere in the program."""
    return [piece for piece in sorted(_pieces(message)) if piece not in said()]


@cache
def said() -> str:
    """All that the program can print, line by line."""
    return "\n".join(_literals())


def _literals() -> Iterator[str]:
    """Yield the literals of the program, without what is only documentation."""
    for file in (ROOT / "relay").rglob("*.py"):
        tree = ast.parse(file.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in docstrings:
                yield str(node.value)


def _pieces(message: str) -> set[str]:
    """What stands in the message whatever it is about, and how a log line is laid out."""
    found = re.split(r"…|\$?[':;(){}\[\]?]|\b[0-9]+\b|\b[A-Z]+_[A-Z_]+\b|\b[a-z]+=", message)
    return {piece.strip(" ,.-") for piece in found} - CHOSEN - SYSTEM - {""}
