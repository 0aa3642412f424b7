"""The architecture page names what the code has."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = sorted(file.parent.name for file in (ROOT / "relay").glob("*/__init__.py"))
NAMED = sorted(
    name for name in set(re.findall(r"`((?:\w+\.)+\w+)`", PAGE)) if name.split(".")[0] in PACKAGES
)
FILES = sorted(set(re.findall(r"`(relay/[\w/.]+)`", PAGE)))


def find(name: str) -> object:
    """The module, class, function or method of this dotted name; raises AttributeError if none."""
    parts = name.split(".")
    found: object = import_module(f"relay.{parts[0]}")
    for end, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            module = f"relay.{'.'.join(parts[:end])}"
            try:
                found = import_module(module)
            except ModuleNotFoundError:
                raise AttributeError(name) from None
        else:
            found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMED)
def test_what_the_page_names_is_there(name: str) -> None:
    """A function that is renamed or moved is renamed on the page, too."""
    assert find(name) is not None


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_the_page_names_is_there(file: str) -> None:
    """So is a file or a package."""
    assert (ROOT / Path(file)).exists()


def test_every_package_is_on_the_page() -> None:
    """The table of packages is complete."""
    table = PAGE.split("## Packages and their floors")[1].split("## The way of one event")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == PACKAGES
