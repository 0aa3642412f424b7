"""The text of the built-in configuration, which `relay init` writes."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from relay.config import builtin
from relay.config.yaml_reader import read_document
from relay.destinations.catalog import parse_config

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(TEXTS)
def test_any_text_can_be_quoted(text: str) -> None:
    """The YAML reader returns what was quoted, and it is on one line."""
    quoted = builtin.quote_yaml(text)
    assert read_document(f"key: {quoted}", "f").data == {"key": text}
    assert quoted.isprintable() or not text.isprintable()
    assert len(quoted.splitlines()) == 1


@given(st.lists(TEXTS.filter(lambda text: text not in ("", "*")), max_size=3), TEXTS)
def test_a_literal_is_taken_as_it_is(projects: list[str], url: str) -> None:
    """Neither a value nor the name of a project is taken for YAML or for a reference."""
    value = builtin.Value.literal("text", url)
    destination = builtin.Destination("ops", "slack", (value,))
    choices = builtin.Choices((destination,), projects=tuple(projects), includes_logs=True)
    data = read_document(builtin.compose(choices, ["top"]), "f").data
    assert data["destinations"] == {"ops": {"type": "slack", "text": url.replace("$", "$$")}}
    routes = data["routes"]
    assert isinstance(routes, list)
    labels = [route["match"].get("label") for route in routes]
    label = {"com.docker.compose.project": [name.replace("$", "$$") for name in projects]}
    assert labels == ([label, label, label, None] if projects else [None] * 4)


def test_logs_are_included_on_request_only() -> None:
    """And with a line that says what they may hold."""
    with_logs = builtin.compose(builtin.Choices(includes_logs=True), [])
    config = parse_config(with_logs, file="f", environ={}, folder=Path())
    assert config.routes[0].include.logs == 20
    assert "Logs can hold secrets" in with_logs
    assert "logs" not in builtin.compose(builtin.Choices(), []).lower()


def test_what_is_a_comment_can_be_used() -> None:
    """The lines with keys are right as they are, without the sign of a comment."""
    destination = builtin.Destination("ops", "ntfy", (builtin.Value.literal("topic", "mine"),))
    text = builtin.compose(builtin.Choices((destination,)), [])
    used = re.sub(r"^# ((?:  )?\w+:( |$))", r"\1", text, flags=re.MULTILINE)
    used = used.replace("type: ntfy", "type: ntfy\n    mute: nights")
    config = parse_config(used, file="f", environ={}, folder=Path())
    assert config.time_zone == "Europe/Berlin"
    assert config.docker_engines["local"].host == "web-1"
    assert config.destinations["ops"].mute == ("nights",)


def test_the_name_of_the_machine() -> None:
    """It belongs to the local engine."""
    text = builtin.compose(builtin.Choices(host=builtin.Value.literal("host", "node: 1")), [])
    config = parse_config(text, file="f", environ={}, folder=Path())
    assert config.docker_engines["local"].host == "node: 1"
