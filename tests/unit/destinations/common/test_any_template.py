"""Any template of a configuration with any values: a valid request is sent."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.config import Renderer
from relay.config.templates.template import is_template
from relay.core.errors import ConfigError
from relay.core.notification import Notification
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import parse_config
from tests.support.profiles import examples
from tests.unit.destinations.contract import contracts
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import ATTACKS, hostile_notification, longest_notification
from tests.unit.destinations.strategies import notifications
from tests.unit.destinations.test_every_destination import (
    SERVICES,
    every_service,
)
from tests.unit.destinations.test_models import MINIMAL

PIECES = (
    "plain ",
    "\n",
    "\u202e",
    "é漢😀",
    r'{{ "\ud83d\ude00" }}',
    r'{{ "\ud83d" }}',
    r'{{ "\ude00" ~ "\ud83d" }}',
    r'{{ "\x00\x1b[2J" }}',
    r'{{ "\r\nX: y" }}',
    "{{ '' }}",
    "{{ ' ' }}",
    "{{ none }}",
    "{{ 1e999 }}",
    "{{ 2 ** 2000 }}",
    "{{ 'x' * 30000 }}",
    "{{ 1 // (event.exit_code or 0) }}",
    "{{ headline }}",
    "{{ event.name }}",
    "{{ event.name[0] }}",
    "{{ event.detail + 'x' }}",
    "{{ event.labels.reason }}",
    "{{ event.labels | tojson }}",
    "{{ event | tojson }}",
    "{{ events | map(attribute='image') | join(',') }}",
    "{{ event.image | urlencode }}",
    "{{ event.host | title | truncate(9) }}",
    "{% for k, v in event.labels.items() %}{{ k }}={{ v }} {% endfor %}",
    "{% for line in included.logs %}{{ line }}\n{% endfor %}",
    "{{ included.health }}",
    "{{ included.inspect | tojson }}",
    "{{ included.inspect[event.name] }}",
    "{{ included.inspect.a.b }}",
    "{{ included.missing }}",
    "{{ notification.suppressed * notification.count }}",
    "{{ included.logs | sort | unique | first }}",
)
sources = st.lists(st.sampled_from(PIECES) | st.text("{}%#'\"|~[]() .abex01\n"), max_size=4).map(
    "".join
)
PLACES = {
    "headers": "headers: {{X: {0}}}",
    "query": "query: {{q: {0}}}",
    "body": "format: template, body: {{a: [{0}], b: {0}}}",
    "body_text": "format: template, body_text: {0}",
}


def quoted(text: str) -> str:
    """The text in YAML."""
    return json.dumps(text, ensure_ascii=False)


def ignore_failure(_: str, __: str) -> None:
    """Ignore a template that fails."""


def renderers_for(entries: Sequence[str]) -> list[Renderer]:
    """The daemon's renderers of these destinations; none if the configuration is invalid."""
    destinations = ", ".join(f"to{number}: {{{entry}}}" for number, entry in enumerate(entries))
    to = ", ".join(f"to{number}" for number in range(len(entries)))
    text = f"destinations: {{{destinations}}}\nroutes: [{{name: all, to: [{to}]}}]\n"
    try:
        config = parse_config(text, file="f", environ={}, folder=Path())
    except ConfigError:
        return []
    return [
        destination.build_renderer(config.routes, ignore_failure, colour=False, zone=UTC_ZONE)
        for destination in config.destinations.values()
    ]


def renderer_for(entry: str) -> Renderer | None:
    """The daemon's renderer of a destination; None if the configuration is invalid."""
    return next(iter(renderers_for([entry])), None)


def few_examples(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with a few templates and notifications."""
    slow = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
    return slow(given(sources, notifications)(test))


@pytest.mark.parametrize("place", PLACES)
@few_examples
def test_an_accepted_template_is_rendered(
    place: str, source: str, notification: Notification
) -> None:
    """A valid template in a header, query or body never raises, and its result can be sent."""
    render = renderer_for(f"type: http, url: https://x, {PLACES[place].format(quoted(source))}")
    if render is None:
        return
    request = render(notification)
    body = request.body.decode()
    if place != "body_text":
        json.loads(body)
    assert request.headers.get("X", "").isprintable() or not is_template(source)
    assert request.url.isascii()
    assert urlsplit(request.url).hostname == "x"


@few_examples
def test_any_custom_text_is_rendered(source: str, notification: Notification) -> None:
    """A message of any service with any valid template as title and text is valid."""
    words = f"title: {quoted(source)}, text: {quoted(source)}"
    for render in renderers_for([f"type: {kind}, {MINIMAL[kind]}, {words}" for kind in SERVICES]):
        json.loads(render(notification).body)


@pytest.mark.parametrize("source", PIECES)
def test_every_piece_is_accepted(source: str) -> None:
    """Each piece that the tests combine is a valid template."""
    assert renderer_for(f"type: slack, url: https://x, text: {quoted(source)}") is not None


TEXT_KEYS = {
    "labels": "{% for k, v in event.labels.items() %}{{ k }} {{ v }} {% endfor %}",
    "keys": "{{ event.labels | join(' ') }} {{ event.labels.keys() | list | last }}",
    "json": "{{ event.labels | tojson }} {{ included.inspect | tojson }} {{ event | tojson }}",
    "health": "{{ included.health }}",
    "logs": "{{ included.logs | join(' ') }} {{ included.logs[0] }}",
    "inspect": "{{ included.inspect.a.b[0] }} {% for k, v in included.inspect.a.items() %}"
    "{{ k }} {{ v[1] }} {% endfor %}",
    "missing": "{{ included.missing }} {{ event.host }} {{ event.actor_id }} {{ event.health }}",
}
"""All names that hold texts of others, in one line of a template."""


@cache
def renderer_with_texts(kind: str, what: str | None) -> Renderer:
    """A renderer with these custom texts, or without any."""
    words = "" if what is None else quoted(TEXT_KEYS[what])
    more = f", title: {words}, text: {words}" if words else ""
    render = renderer_for(f"type: {kind}, {MINIMAL[kind]}{more}")
    assert render is not None
    return render


def hostile_tree(attack: str) -> Notification:
    """A `hostile_notification` whose inspect field is a tree of attacks."""
    return hostile_notification(attack, {"a": {"b": [attack, attack], attack: [attack, attack]}})


@every_service
def test_no_output_of_a_template_is_interpreted(kind: str) -> None:
    """No text becomes a mention, a link or markup, even as a label's name or deep in a field."""
    contract = contracts()[kind]
    for notification in [hostile_tree(attack) for attack in ATTACKS if len(attack) < 100]:
        for what in TEXT_KEYS:
            sent = json.loads(renderer_with_texts(kind, what)(notification).body)
            texts = list(contract.interpreted(sent))
            assert texts
            found = [(form, text) for form in contract.dangerous for text in texts if form in text]
            assert not found, what


FORGED = "Forged: fact"
BREAKS = "\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\\n\n"


@every_service
@pytest.mark.parametrize("line_break", BREAKS)
def test_no_output_of_a_template_starts_a_line(kind: str, line_break: str) -> None:
    """Only container output contains lines that look like relay's."""
    notification = hostile_tree(line_break.join(["a", FORGED, "b"]))

    def count_forged(what: str | None) -> int:
        message = json.loads(renderer_with_texts(kind, what)(notification).body)
        lines = [line for text in strings(message) for line in text.splitlines()]
        return sum(line.strip(" *_`│").startswith(FORGED) for line in lines)

    forged = count_forged(None)
    assert not [what for what in TEXT_KEYS if count_forged(what) > forged]


@every_service
def test_the_longest_custom_text_is_within_the_limits(kind: str) -> None:
    """The limits hold for very long custom texts of any characters."""
    notification = longest_notification('"<漢\n' * 5_000)
    most = 70_000 * (1 + (kind == "pagerduty"))
    for what in TEXT_KEYS:
        assert 500 < len(renderer_with_texts(kind, what)(notification).body) < most, what


def test_custom_texts_are_tested() -> None:
    """The custom texts of these tests are in the message."""
    for what in TEXT_KEYS:
        for kind in SERVICES:
            assert b"gotcha" in renderer_with_texts(kind, what)(hostile_notification("gotcha")).body
