"""The reference of the configuration, against the model that it is made from."""

import re
from pathlib import Path
from typing import Any

import pytest

from relay.core.errors import ConfigError
from relay.destinations.catalog import parse_config
from relay.incidents.policy import DestinationPolicy, RoutePolicy
from relay.incidents.policy_text import format_ns
from tests.support.schema import SCHEMA
from tools.reference import COMMAND, FILE, reference

TEXT = reference()
SECTIONS = {name: node for name, node in SCHEMA["$defs"].items() if "properties" in node}
KEYS = {
    name: {key: value for key, value in node["properties"].items() if key != "type"}
    for name, node in {"Config": SCHEMA, **SECTIONS}.items()
}
"""What the schema says about each key of each section."""


def test_it_is_current() -> None:
    """What is in the repository is what the model says now."""
    is_current = FILE.read_text() == TEXT  # a name, because nobody wants to see both
    assert is_current, f"docs/reference.md is not current: run {COMMAND}"


@pytest.mark.parametrize("section", KEYS)
def test_every_key_has_a_meaning(section: str) -> None:
    """Below it in the model, or that of the section that it holds."""
    without = [key for key, node in KEYS[section].items() if not has_meaning(node)]
    assert without == [], "they have no docstring below them in relay/config"


def has_meaning(node: dict[str, Any]) -> bool:
    inner = SCHEMA["$defs"].get(str(node.get("$ref", "")).rpartition("/")[2], {})
    return bool(node.get("description") or inner.get("description"))


@pytest.mark.parametrize("section", KEYS)
def test_every_key_is_there(section: str) -> None:
    """In a row of its own or, for a secret's file, beside the secret."""
    rows = set(re.findall(r"^\| `(?:[a-z_.]+\.)?([a-z_]+)` \|", TEXT, re.MULTILINE))
    files = set(re.findall(r", or a file: `([a-z_]+)`", TEXT))
    assert KEYS[section].keys() <= rows | files


def config(section: str = "", destination: str = "", route: str = "") -> str:
    return (
        f"{section}\ndestinations: {{ops: {{type: http, url: 'https://x/', {destination}}}}}\n"
        f"routes: [{{name: all, to: ops, {route}}}]\n"
    )


HASTE = "retry: {initial: %s, max: 1h}"
PATIENCE = "timeout: {connect: %s}"
BOUNDS = [
    (("IngestConfig", "buffer"), "64KiB", config("ingest: {buffer: %s}"), "64KiB", "65535B"),
    (("IngestConfig", "buffer"), "64GiB", config("ingest: {buffer: %s}"), "64GiB", "65GiB"),
    (("ReconcileConfig", "every"), "10s", config("reconcile: {every: %s}"), "10s", "9s"),
    (
        ("DeadLettersConfig", "max_age"),
        "1m",
        config("store: {dead_letters: {max_age: %s}}"),
        "1m",
        "59s",
    ),
    (("StoreConfig", "max_size"), "1MiB", config("store: {max_size: %s}"), "1MiB", "1023KiB"),
    (("StoreConfig", "max_size"), "1024GiB", config("store: {max_size: %s}"), "1024GiB", "1025GiB"),
    (("HeartbeatConfig", "every"), "10s", config("heartbeat: {every: %s}"), "10s", "9s"),
    (("RetryConfig", "initial"), "more than 0s", config(destination=HASTE), "1ms", "0s"),
    (
        ("RetryConfig", "max"),
        "not shorter than ``initial``",
        config(destination="retry: {max: %s}"),
        "1s",
        "999ms",
    ),
    (
        ("RetryConfig", "max_age"),
        "not shorter than ``initial``",
        config(destination="retry: {max_age: %s}"),
        "1s",
        "999ms",
    ),
    (("TimeoutConfig", "connect"), "more than 0s", config(destination=PATIENCE), "1ms", "0s"),
    (
        ("TimeoutConfig", "total"),
        "not shorter than ``connect``",
        config(destination="timeout: {total: %s}"),
        "5s",
        "4s",
    ),
    *(
        ((section, "resolve_after"), "from 1s to 24h", text, right, wrong)
        for section, text in (
            ("HttpDestination", config(destination="resolve_after: %s")),
            ("Route", config(route="resolve_after: %s")),
        )
        for right, wrong in (("1s", "999ms"), ("24h", "86401s"))
    ),
    (
        ("HttpDestination", "group_by"),
        "at most 10 of",
        config(destination="group_by: [%s]"),
        ", ".join(f"label.l{at}" for at in range(10)),
        ", ".join(f"label.l{at}" for at in range(11)),
    ),
    (
        ("HttpDestination", "group_wait"),
        "at most 1h",
        config(destination="group_wait: %s"),
        "1h",
        "3601s",
    ),
    *(
        (
            ("HttpDestination", "group_interval"),
            "from 1s to 24h",
            config(destination="group_interval: %s"),
            right,
            wrong,
        )
        for right, wrong in (("1s", "0s"), ("24h", "86401s"))
    ),
    *(
        (
            ("HttpDestination", "repeat_interval"),
            "from 1m to 6d, or ``0s`` for never",
            config(destination="repeat_interval: %s"),
            right,
            wrong,
        )
        for right, wrong in (("1m", "59s"), ("6d", "145h"), ("0s", "1ms"))
    ),
    (
        ("IncludeConfig", "inspect"),
        "at most 20",
        config(route="include: {inspect: [%s]}"),
        ", ".join("a" * 20),
        ", ".join("a" * 21),
    ),
]


def test_defaults_of_the_keys_of_incidents() -> None:
    """They stand in the meaning, and on the page of incidents, as they are."""
    people = DestinationPolicy()
    defaults = {
        "resolve_after": format_ns(RoutePolicy().resolve_after_ns),
        "send_resolved": str(RoutePolicy().send_resolved).lower(),
        "group_by": f"[{', '.join(people.group_by)}]",
        "group_wait": format_ns(people.group_wait_ns),
        "group_interval": format_ns(people.group_interval_ns),
        "repeat_interval": format_ns(people.repeat_interval_ns),
    }
    page = (FILE.parent / "incidents.md").read_text()
    for key, default in defaults.items():
        description = KEYS["SlackDestination"][key]["description"]
        assert re.search(rf"[Dd]efault:? ``{re.escape(default)}``", description), key
        assert re.search(rf"^\| `{key}` \| \w+ \| `{re.escape(default)}` \|", page, re.MULTILINE)


@pytest.mark.parametrize(("key", "words", "text", "right", "wrong"), BOUNDS)
def test_a_bound_is_what_the_words_say(
    key: tuple[str, str], words: str, text: str, right: str, wrong: str
) -> None:
    """Those that a schema cannot hold stand in the meaning, and are true."""
    assert words in KEYS[key[0]][key[1]]["description"]
    parse_config(text % right, file="f", environ={}, folder=Path("/"))
    with pytest.raises(ConfigError):
        parse_config(text % wrong, file="f", environ={}, folder=Path("/"))
