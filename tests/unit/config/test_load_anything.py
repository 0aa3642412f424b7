"""Loading any text or file gives a configuration or a `ConfigError`."""

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.config.warnings import find_warnings
from relay.core.errors import ConfigError
from relay.core.zone import TimeZone
from relay.destinations.catalog import DESTINATION_TYPES, load_config, parse_config
from relay.incidents.policy import build_policies
from relay.incidents.policy_text import describe_policy
from relay.incidents.policy_warnings import find_policy_warnings
from tests.support.profiles import examples
from tests.unit.config.test_load import CANARIES, EXAMPLE, HERE


def _check(text: str) -> None:
    """Load a text; no configuration, error or warning shows a value of the environment."""
    shown = _outcome(text)
    assert all(line.isprintable() for line in shown)
    assert "CANARY" not in "".join(shown)


def _outcome(text: str) -> list[str]:
    try:
        config = parse_config(text, file="f", environ=CANARIES, folder=HERE)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    policies = build_policies(config)
    issues = [*find_warnings(config, DESTINATION_TYPES), *find_policy_warnings(config, policies, 0)]
    warnings = [issue.message for issue in issues]
    zone = TimeZone(config.time_zone)
    described = [describe_policy(policies, name, 0, zone) for name in config.destinations]
    return [repr(config.destinations), *warnings, *described]


@given(st.text() | st.binary().map(lambda junk: junk.decode("latin-1")))
@example("a: &a [*a]")
@example("? ")
def test_any_text(text: str) -> None:
    """Any text gives a configuration or a `ConfigError`."""
    _check(text)


@given(st.text(alphabet="-?:{}[]&*!|>'\"%@`#,<~ \n\tab1$"))
@settings(max_examples=examples(300))
def test_any_syntax(text: str) -> None:
    """Any text of YAML's special characters gives a configuration or a `ConfigError`."""
    _check(text)


@given(junk=st.binary())
def test_any_file(junk: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any file gives a configuration or a `ConfigError`."""
    file = tmp_path_factory.mktemp("any") / "f"
    file.write_bytes(junk)
    with contextlib.suppress(ConfigError):
        load_config(file, {})


_LINES = EXAMPLE.read_text().splitlines()
_PIECES = st.text(alphabet="-?:{}[]&*!|>'\" \n\t$ab019,~", max_size=4) | st.sampled_from(
    ["${SLACK_WEBHOOK_URL}", '"${AUDIT_TOKEN}"', "null", "true", "-1", "{}", "[]", "regex", "not"]
)


@given(st.data())
@settings(max_examples=examples(500))
def test_any_mutated_example(data: st.DataObject) -> None:
    """The example with random changes gives a configuration or a `ConfigError`."""
    text = "\n".join(_LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 8))
        text = text[:start] + data.draw(_PIECES) + text[end:]
    _check(text)


_SCALARS = st.sampled_from(
    [None, True, 0, 7, "", "x", "5/s", "10s", "${AUDIT_TOKEN}", "ops", "*", "events", "engine"]
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "url",
                        "type",
                        "to",
                        "name",
                        "match",
                        "retry",
                        "headers",
                        "tls",
                        "format",
                        "drop",
                    ),
                    *(
                        "label",
                        "any",
                        "not",
                        "regex",
                        "exists",
                        "cause",
                        "exit_code",
                        "x",
                        "initial",
                    ),
                    *("notify", "resolve_after", "send_resolved"),
                    *("group_by", "group_wait", "group_interval", "repeat_interval"),
                    *("url_file", "rate_limit", "concurrency", "stop", "context", "start_from"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def _yaml(tree: object) -> str:
    """Write a tree in the flow style of YAML."""
    match tree:
        case dict():
            return "{" + ", ".join(f"{key}: {_yaml(value)}" for key, value in tree.items()) + "}"
        case list():
            return "[" + ", ".join(_yaml(value) for value in tree) + "]"
        case str():
            return f'"{tree}"'
        case _:
            return {None: "null", True: "true"}.get(tree, str(tree))  # type: ignore[call-overload, no-any-return]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "engines": st.dictionaries(st.just("e"), _TREES) | _TREES,
            "ingest": _TREES,
            "store": _TREES,
            "destinations": st.dictionaries(
                st.sampled_from(["ops", "x"]),
                st.tuples(_TREES, st.sampled_from(["http", "slack", "console"])).map(
                    lambda drawn: (
                        {**drawn[0], "type": drawn[1]} if isinstance(drawn[0], dict) else drawn[0]
                    )
                ),
            ),
            "routes": st.lists(_TREES, max_size=3) | _TREES,
        },
    )
)
@settings(max_examples=examples(500))
def test_any_tree(tree: dict[str, object]) -> None:
    """Values in the wrong places give a `ConfigError`, and every error has a message."""
    _check(_yaml(tree))
