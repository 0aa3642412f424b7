"""The page of incidents: its words are those of the code, and its examples are valid."""

from collections.abc import Mapping, Set
from pathlib import Path

import pytest

from relay.config.incident_keys import GROUP_FIELDS, GROUP_KEYS, LIFE_KEYS
from relay.core.incident import Resolution, UpdateReason
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import parse_config
from relay.incidents.held import HeldReason
from relay.incidents.policy import build_policies
from relay.incidents.policy_text import describe_policy
from tests.unit.docs.pages import DOCS, blocks

PAGE = DOCS / "incidents.md"
TEXT = PAGE.read_text()
SLACK = "https://hooks.slack.com/services/T0/B0/c"
ENVIRONMENT = {
    "SLACK_WEBHOOK_URL": SLACK,
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/123/abc",
}
WORDS: Mapping[str, Set[str]] = {
    "is why a message is sent": set(UpdateReason) - {UpdateReason.EVENTS},
    "ends an incident": set(Resolution) - {Resolution.UNWATCHED, Resolution.CLOSED},
    "is why there is no message": set(HeldReason),
    "is a key": {"notify", *LIFE_KEYS, *GROUP_KEYS},
    "is a field of group_by": {*GROUP_FIELDS, "label.NAME"},
}


@pytest.mark.parametrize("what", WORDS)
def test_a_table_has_each_word(what: str) -> None:
    """In a row of its own."""
    rows = {line.split("|")[1].strip(" `") for line in TEXT.splitlines() if line.startswith("|")}
    assert {f"{word}" for word in WORDS[what]} <= rows


def test_every_resolution_is_explained() -> None:
    """Those that need no time as well."""
    assert all(f"`{each}`" in TEXT for each in Resolution)


def test_what_relay_check_prints() -> None:
    """The lines are those of a configuration without any key."""
    config = parse_config(
        f"""
destinations:
  terminal: {{type: console}}
  ops: {{type: slack, url: "{SLACK}"}}
  oncall: {{type: pagerduty, routing_key: {"a1" * 16}}}
  audit: {{type: http, url: "https://h.lan"}}
routes: [{{name: died, match: {{action: die}}, to: [terminal, ops, oncall, audit]}}]
""",
        file="f",
        environ={},
        folder=Path(),
    )
    policies = build_policies(config)
    lines = "".join(
        f"  {name}: {describe_policy(policies, name, 0, UTC_ZONE)}\n"
        for name in config.destinations
    )
    (shown,) = (text for text in blocks(PAGE, "console") if "$ relay check" in text)
    assert shown.endswith(f"notifications\n{lines}")
