"""The page about quiet: its commands print what it shows. Its tests are those of all pages."""

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.cli.silence_table import HEADINGS, describe_effect, describe_silence, format_row
from relay.cli.tables import format_table
from relay.core.zone import TimeZone
from relay.destinations.catalog import parse_config
from relay.incidents.policy import build_policies
from relay.incidents.policy_text import describe_policy
from relay.incidents.silence import Silence
from relay.incidents.silence_view import SilenceState, SilenceView
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
CHECK, EXPLAIN_NIGHT, EXPLAIN_FOR = (
    each for each in COMMANDS if not each.text.startswith("relay silence")
)
ADD_SILENCE, LIST_SILENCES = (each for each in COMMANDS if each.text.startswith("relay silence"))
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


def view(id_: int, match: dict[str, str], hours: tuple[float, float], **fields: Any) -> SilenceView:
    """A silence of the page, from and until so many hours after `THURSDAY_NS`."""
    from_ns, until_ns = (THURSDAY_NS + round(hour * 3600) * 10**9 for hour in hours)
    silence = Silence(id_, from_ns, until_ns, "deploy", "ann", from_ns, match)
    is_holding = int(id_ == 3)
    return SilenceView(
        *msgspec.structs.astuple(msgspec.structs.replace(silence, **fields)),
        state=SilenceState.ACTIVE,
        matching=is_holding,
        holding_incidents=is_holding,
        holding_events=is_holding,
    )


def test_what_relay_silence_prints() -> None:
    zone, now_ns = TimeZone("Europe/Berlin"), THURSDAY_NS + 2 * 3600 * 10**9
    deploy = view(3, {"project": "shop"}, (13 / 12, 25 / 12), held_incidents=1, held_events=2)
    disks = view(4, {"engine": "edge-1"}, (2, 4), comment="new disks")
    lines = [describe_silence(disks, zone, now_ns), *describe_effect(disks, is_daemon=True)]
    assert (ADD_SILENCE.output or "").splitlines() == lines
    rows = [HEADINGS, *(format_row(each, zone, now_ns) for each in (deploy, disks))]
    assert (LIST_SILENCES.output or "").splitlines() == list(format_table(rows))
