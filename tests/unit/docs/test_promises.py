"""The promises: the tests that are said to show them are there."""

import ast
import re

import pytest

from tests.unit.docs.pages import DOCS, ROOT, code

PAGE = DOCS / "promises.md"
PROMISED, _, _ = PAGE.read_text().partition("## Not promised")
NAMED = [each for each in code(PROMISED) if each.startswith("tests/") and each != "tests/"]


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_is_named_is_there(named: str) -> None:
    """The file, and in it the function."""
    path, _, function = named.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = [
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    tests = [name for name in functions if name.startswith("test_")]
    assert function in tests if function else tests


def test_every_promise_names_its_tests() -> None:
    """None is made that nothing shows."""
    _, *promises = re.split(r"^## ", PROMISED, flags=re.MULTILINE)
    assert promises
    for promise in promises:
        assert re.search(r"^- `tests/", promise, re.MULTILINE), promise.partition("\n")[0]
