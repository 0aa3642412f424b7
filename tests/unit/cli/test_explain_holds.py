"""``relay explain``: what would hold an event back, and until when."""

from pathlib import Path

import pytest

from tests.unit.cli.cli_store import run

CONFIG = """
time_zone: Europe/Berlin
engines: {here: {}}
mute_time_intervals:
  nights: [{times: "22:00-07:00"}]
  ever: [{times: "00:00-24:00"}]
destinations:
  ops: {type: slack, url: "https://hooks.slack.com/services/s3cret", mute: nights}
  oncall: {type: pagerduty, routing_key: s3cret}
  never: {type: ntfy, topic: t, mute: ever}
  audit: {type: http, url: "http://audit.lan"}
routes:
  - {name: chat, match: {name: "chat*"}, to: [ops, audit]}
  - {name: page, match: {name: "page*"}, for: 5m, to: oncall}
  - {name: both, match: {name: "both*"}, for: 5m, to: [oncall, ops]}
  - {name: never, match: {name: "never*"}, to: never}
  - {name: pager, match: {name: "start*"}, mute: nights, to: oncall}
"""
DAY, NIGHT = "2026-11-24 12:00", "2026-11-24 23:00"
OPENS = "opens an incident"


@pytest.fixture(autouse=True)
def written(file: Path) -> None:
    file.write_text(CONFIG)


def explain(name: str, at: str, *more: str, action: str = "die") -> str:
    """Return what becomes of an event, by the route that matches."""
    exit_code = ("--attribute", "exitCode=3") if action == "die" else ()
    result = run("explain", "--action", action, "--name", name, "--at", at, *exit_code, *more)
    (line,) = (line for line in result.output.splitlines() if line.startswith("✓"))
    return line.partition("matches ")[2]


@pytest.mark.parametrize(
    ("name", "at", "shown"),
    [
        ("chat", DAY, f"→ ops: {OPENS} (chat), told in 3 s with others of here/chat"),
        (
            "chat",
            NIGHT,
            f"→ ops: {OPENS} (chat), muted by nights until 2026-11-25 07:00 CET, then told with "
            "others of here/chat",
        ),
        ("page", NIGHT, f"→ oncall: {OPENS} (page), told after 5 min unless it is well before"),
        (
            "both",
            NIGHT,
            f"→ oncall: {OPENS} (both), told after 5 min unless it is well before; "
            f"→ ops: {OPENS} (both), told after 5 min with others of here/both unless it is well "
            "before, but muted by nights until 2026-11-25 07:00 CET",
        ),
        ("never", DAY, f"→ never: {OPENS} (never), muted by ever always"),
    ],
)
def test_a_problem(name: str, at: str, shown: str) -> None:
    assert explain(name, at).removesuffix("; → audit at once") == shown


def test_a_problem_of_a_process_is_well_before_it_is_reported() -> None:
    assert explain("page", DAY, action="oom") == (
        f"→ oncall: {OPENS} (page), told after 5 min unless it is well before"
    )


@pytest.mark.parametrize(
    ("name", "at", "shown"),
    [
        ("chat", DAY, "→ ops: told in 3 s with others of here/chat; → audit at once"),
        (
            "chat",
            NIGHT,
            "→ ops: muted by nights until 2026-11-25 07:00 CET, then told with others of "
            "here/chat; → audit at once",
        ),
        ("start", DAY, "→ oncall at once"),
        ("start", NIGHT, "→ oncall: not told (muted by nights)"),
    ],
)
def test_a_plain_event(name: str, at: str, shown: str) -> None:
    assert explain(name, at, action="start") == shown


@pytest.mark.parametrize(("action", "opens"), [("die", f"{OPENS} (chat), "), ("start", "")])
def test_a_label(action: str, opens: str) -> None:
    shown = explain("chat", DAY, "--label", "relay.enable=false", action=action)
    assert shown == f"→ ops: {opens}not told (opted_out: the label relay.enable); → audit at once"


def test_without_a_day_it_is_the_next_time() -> None:
    assert "muted by nights until" in explain("chat", "23:00")
    assert "muted" not in explain("chat", "12:00")


def test_a_time_that_cannot_be_read() -> None:
    result = run("explain", "--action", "die", "--at", "noon")
    assert result.exit_code == 2
    assert "'noon' is not a" in result.output
