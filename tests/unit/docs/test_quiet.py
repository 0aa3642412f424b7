"""The page about quiet: its commands print what it shows. Its tests are those of all pages."""

import shlex
from pathlib import Path

import pytest

from relay.core.zone import TimeZone
from relay.destinations.catalog import parse_config
from relay.incidents.policy import build_policies
from relay.incidents.policy_text import describe_policy
from tests.unit.cli.cli_store import run
from tests.unit.docs.commands import Command, find_commands
from tests.unit.docs.examples import ENVIRONMENT, write_secrets
from tests.unit.docs.pages import DOCS, blocks, find_blocks

PAGE = DOCS / "quiet.md"
CONFIGS = [text for text in blocks(PAGE, "yaml") if "destinations:" in text]
"""The two configurations of the page: intervals, and an escalation."""
COMMANDS = [
    each
    for block in find_blocks(PAGE)
    if block.language == "console"
    for each in find_commands(block)
]
CHECK, EXPLAIN_NIGHT, EXPLAIN_FOR = COMMANDS
THURSDAY_NS = 1_795_690_800 * 10**9
"""2026-11-26 11:00 UTC: an hour at which nobody is muted."""


def test_what_relay_check_prints() -> None:
    config = parse_config(CONFIGS[0], file="f", environ=ENVIRONMENT, folder=Path())
    policies, zone = build_policies(config), TimeZone(config.time_zone)
    lines = [
        f"  {name}: {describe_policy(policies, name, THURSDAY_NS, zone)}\n"
        for name in config.destinations
    ]
    assert CHECK.output == f"…\nnotifications\n{''.join(lines)}"


@pytest.mark.parametrize(
    ("config", "command"), [(CONFIGS[0], EXPLAIN_NIGHT), (CONFIGS[1], EXPLAIN_FOR)]
)
def test_what_relay_explain_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, command: Command
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "config.yaml"
    file.write_text(write_secrets(config, tmp_path))
    _, *arguments = shlex.split(command.text)
    assert run(*arguments, "--config", str(file)).output == command.output
