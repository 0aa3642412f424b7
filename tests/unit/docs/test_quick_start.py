"""The page from nothing to the first alert: what it names is there, and what it shows is true."""

import re

import pytest
import yaml

from relay.config import variables
from relay.config.services import all_settings
from tests.unit.cli.cli_store import clear_variables, run
from tests.unit.docs.pages import DOCS, ROOT, VARIABLES, blocks, find_variables

PAGE = DOCS / "quick-start.md"


def test_every_variable_of_a_service_is_named() -> None:
    """In the table, with no other."""
    named = find_variables(PAGE)
    assert named <= VARIABLES
    assert {each.variable for each in all_settings()} <= named


def test_the_reference_has_them_all() -> None:
    """With the option of `relay init`."""
    reference = (DOCS / "reference.md").read_text()
    for each in all_settings():
        assert f"| `{each.variable}` | `--{each.option}` | " in reference
    for name in variables.OTHERS:
        assert f"- `{name}`: " in reference


def test_the_first_line_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """``relay check --show`` prints what the page says."""
    (block,) = blocks(PAGE, "console")
    command, first, _ = block.splitlines()
    name, value = re.findall(r"(RELAY_\w+)=(\S+)", command)[0]
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", ROOT / "none.yaml")
    clear_variables(monkeypatch)
    monkeypatch.setenv(name, value)
    shown = run("check", "--show").stdout
    assert shown.splitlines()[0] == first
    assert list(yaml.safe_load(shown)["destinations"]) == ["ntfy"]
