"""The JSON Schema, compared with what relay accepts."""

from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from relay.config.match import FIELDS
from relay.config.section import list_keys
from relay.config.types import format_duration
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from tests.support.schema import SCHEMA, VALIDATOR

ROOT = Path(__file__).parents[3]


def errors(data: object) -> list[str]:
    """The errors that the schema finds, with their paths."""
    return [f"{each.json_path}: {each.message}" for each in VALIDATOR.iter_errors(data)]


def config(destination: str = "{type: console}", route: str = "{name: all, to: ops}") -> str:
    return f"destinations: {{ops: {destination}}}\nroutes: [{route}]\n"


def http(more: str) -> str:
    return config(f"{{type: http, url: 'https://x/', {more}}}")


def match(text: str) -> str:
    return config(route=f"{{name: all, to: ops, match: {text}}}")


VALID = [
    config(),
    "engines: {here: , edge: {url: 'tcp://edge:2376', tls: {ca_file: x}}}\n" + config(),
    "engines: {here: {start_from: 10m}, it: {start_from: oldest, context: c}}\n" + config(),
    "engines: {here: {headers: {X-Key_file: secret}, bearer_token_file: secret}}\n" + config(),
    "engines: {it: {type: nats, url: 'tls://a', stream: S, consumer: C}}\n" + config(),
    "engines: {it: {type: nats, url: [nats://a], stream: S, consumer: C, token_file: secret}}\n"
    + config(),
    "store: {path: x, max_size: 64MiB, dead_letters: {max_age: 7d, max_count: 0}}\n" + config(),
    "store: {max_size: 2097152, when_full: drop-new}\n" + config(),
    "log: {level: debug}\n" + config(),
    "reconcile: {every: 0s, on_reconnect: false}\ningest: {buffer: 1GiB}\n" + config(),
    "admin: {listen: '[::1]:9321'}\n" + config(),
    "admin: {listen: 'unix:/run/relay.sock'}\n" + config(),
    "admin: {listen: '0.0.0.0:9321', token_file: secret}\n" + config(),
    "admin: {listen: '0.0.0.0:9321', token: 0123456789abcdef}\n" + config(),
    config("{type: slack, url: '${URL}', rate_limit: '${RATE:-5/s}'}"),
    config("{type: slack, url_file: secret}"),
    config("{type: telegram, token: '123456:ABC-DEF1234ghIkl', chat_id: -100123}"),
    config("{type: ntfy, topic_file: secret, proxy_file: secret, bearer_token_file: secret}"),
    http("concurrency: '${COUNT:-3}', ordering: none, rate_limit: 20/min"),
    http("retry: {initial: 500ms, max: 1h30m, factor: 1.5, jitter: 0, max_attempts: 3}"),
    http("headers: {X-Number: 5, X-Key_file: secret}, query: {a: 1}, timeout: {total: 20s}"),
    http("basic_auth: {username: me, password_file: secret}"),
    http("format: template, body: {a: ['{{ event.name }}', 1, null]}"),
    http("format: template, body_text: x, content_type: text/html, method: PUT"),
    http("signing_secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"),
    http("sign: github, signing_secret: [hellohello]"),
    http("batch: {}"),
    http("batch: {max: 1000, wait: 0s}, format: cloudevents, query: {a: b}"),
    config(route="{name: all, to: [ops], stop: true, severity: info, title: x, text: 5}"),
    config(route="{name: all, to: ops, include: {logs: 5, health: true, inspect: RestartCount}}"),
    config(route="{name: 5, to: ops, drop: false}"),
    config(route="{name: none, drop: true, match: }"),
    config("{type: console, notify: events}"),
    config("{type: console, notify: incidents, resolve_after: 5m, send_resolved: false}"),
    http("notify: '${NOTIFY:-incidents}', group_by: [], repeat_interval: 0s"),
    http("group_by: project, group_wait: 0s, group_interval: 1h"),
    http("group_by: [engine, label.com.example.team]"),
    config("{type: alertmanager, url: 'http://x', notify: events}"),
    config(route="{name: all, to: ops, notify: incidents, resolve_after: 5m}"),
    config(route="{name: all, to: ops, notify: events}"),
    match("{type: container, action: [die, 'exec_*', whatever], detail: x, scope: local}"),
    match("{cause: [crashed, oom], origin: {not: live}, health: unhealthy}"),
    match("{exit_code: [137, '1-125', '>=128', {not: 0}], signal: [9, SIGKILL, RTMIN+3]}"),
    match("{label: {tier: [web, 'a-*', {regex: 'w+'}], x: {exists: false}}, attribute: {a: 1}}"),
    match("{any: [{name: web}, {image: {not: [a, b]}}], all: [{id: x}], not: {host: h}}"),
    match("{cause: 'c*', engine: '${ENGINE:-local}'}"),
]
INVALID = [
    "destinatons: {}\n" + config(),
    "engines: {}\n" + config(),
    "engines: {'not a name': {}}\n" + config(),
    "engines: {here: {url: 'edge:2376'}}\n" + config(),
    "engines: {here: {url: 'unix:///x', context: c}}\n" + config(),
    "engines: {here: {url: 'tcp://x:1', tls: {cert_file: x}}}\n" + config(),
    "engines: {here: {start_from: yesterday}}\n" + config(),
    "engines: {here: {type: podman}}\n" + config(),
    "engines: {here: {type: nats, url: 'tls://a', stream: S}}\n" + config(),
    "engines: {here: {type: nats, url: 'ws://a', stream: S, consumer: C}}\n" + config(),
    "engines: {here: {stream: S}}\n" + config(),
    "admin: {listen: 9321}\n" + config(),
    "admin: \n" + config(),
    "admin: {token_file: x}\n" + config(),
    "admin: {listen: 'x:1', token: 0123456789abcdef, token_file: x}\n" + config(),
    "admin: {listen: 'x:1', token: }\n" + config(),
    "store: {max_size: 1 GB}\n" + config(),
    "store: {when_full: drop}\n" + config(),
    "log: {level: loud}\n" + config(),
    "destinations: {ops: {type: console}}\nroutes: []\n",
    "routes: [{name: all, to: ops}]\n",
    config("{}"),
    config("{type: slak}"),
    config("{type: slack}"),
    config("{type: slack, url: 'https://x/', url_file: x}"),
    config("{type: slack, url: 'hooks.slack.com/services/x'}"),
    config("{type: slack, urll: 'https://x/'}"),
    config("{type: console, url: 'https://x/'}"),
    config("{type: gotify, url: 'https://x/'}"),
    config("{type: pagerduty, routing_key: x, routing_key_file: y}"),
    http("concurrency: 0"),
    http("concurrency: many"),
    http("retry: {initial: 10}"),
    http("retry: {initial: 10 s}"),
    http("retry: {initial: ''}"),
    http("retry: {factor: 11}"),
    http("rate_limit: 5"),
    http("rate_limit: 0/s"),
    http("rate_limit: 5/d"),
    http("format: xml"),
    http("format: template"),
    http("format: template, body: x, body_text: y"),
    http("body: x"),
    http("content_type: text/html"),
    http("batch: {max: 1}"),
    http("batch: {max: 1001}"),
    http("batch: {wait: 50}"),
    http("batch: {size: 5}"),
    http("batch: 500"),
    http("batch: {}, format: cloudevents-binary"),
    http("batch: {}, format: template, body_text: x"),
    http("batch: {}, method: GET"),
    config("{type: slack, url: 'https://x/', batch: {}}"),
    http("headers: {X: [a]}"),
    http("bearer_token: x, basic_auth: {username: a, password: b}"),
    http("basic_auth: {username: a}"),
    http("notify: all"),
    http("notify: events, group_by: engine"),
    http("notify: events, send_resolved: true"),
    http("resolve_after: 5"),
    http("group_by: tier"),
    http("group_by: [engine, engine]"),
    http("group_by: {engine: true}"),
    http(f"group_by: [{', '.join(f'label.l{at}' for at in range(11))}]"),
    config("{type: pagerduty, routing_key: x, group_wait: 5s}"),
    config("{type: alertmanager, url: 'http://x', group_by: []}"),
    config(route="{name: all, to: ops, notify: events, resolve_after: 5m}"),
    config(route="{name: all, drop: true, notify: events}"),
    config(route="{name: all, to: ops, group_by: engine}"),
    config(route="{to: ops}"),
    config(route="{name: all}"),
    config(route="{name: all, drop: true, to: ops}"),
    config(route="{name: all, drop: true, include: {logs: 5}}"),
    config(route="{name: all, to: ops, stop: maybe}"),
    config(route="{name: all, to: ops, severity: fatal}"),
    config(route="{name: all, to: ops, include: {logs: 1000}}"),
    match("{acton: die}"),
    match("{cause: crash}"),
    match("{scope: global}"),
    match("{exit_code: '>'}"),
    match("{exit_code: {regex: x}}"),
    match("{name: []}"),
    match("{name: [[web]]}"),
    match("{name: {regex: a, not: b}}"),
    match("{name: {glob: a}}"),
    match("{label: web}"),
    match("{label: {}}"),
    match("{any: []}"),
    match("{any: [{}]}"),
    match("{not: }"),
    match("[a]"),
]


def test_schema_is_valid() -> None:
    """The schema is valid by its own draft."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_example() -> None:
    """The example configuration has no errors."""
    assert errors(yaml.safe_load((ROOT / "config.example.yaml").read_text())) == []


@pytest.mark.parametrize("text", VALID)
def test_valid_configuration(text: str, tmp_path: Path) -> None:
    """The schema accepts all notations that relay accepts."""
    assert errors(yaml.safe_load(text)) == []
    (tmp_path / "x").write_text("")
    (tmp_path / "secret").write_text("https://x/" if "url_file" in text else "hellohellohello1")
    text = text.replace("proxy_file: secret, ", "")  # the one that would have to be a URL
    parse_config(text, file="f", environ={"URL": "https://x/"}, folder=tmp_path)


@pytest.mark.parametrize("text", INVALID)
def test_invalid_configuration(text: str) -> None:
    """The schema finds the usual mistakes, and relay refuses them, too."""
    assert errors(yaml.safe_load(text)) != []
    with pytest.raises(ConfigError):
        parse_config(text, file="f", environ={}, folder=Path("/"))


def test_every_type_has_its_own_keys() -> None:
    """A type has the keys of its model, and a ``…_file`` key for all that may be in a file."""
    for name, kind in DESTINATION_TYPES.models.items():
        keys = set(SCHEMA["$defs"][kind.__name__]["properties"])
        assert keys == {
            *list_keys(kind),
            *(f"{key}_file" for key in DESTINATION_TYPES.file_keys(name)),
        }


def test_every_field_of_a_match() -> None:
    """A match has all fields, and the three keys that combine matches."""
    assert set(SCHEMA["$defs"]["Match"]["properties"]) == {*FIELDS, "any", "all", "not"}


def test_descriptions_and_defaults() -> None:
    """A key has its description, and its default as people write it."""
    keys = SCHEMA["$defs"]["RetryConfig"]["properties"]
    assert keys["max"]["description"] == "The longest wait; not shorter than ``initial``."
    assert keys["max"]["default"] == "10m"
    assert SCHEMA["$defs"]["SlackDestination"]["properties"]["rate_limit"]["default"] == "1/s"
    assert "default" not in SCHEMA["$defs"]["DiscordDestination"]["properties"]["rate_limit"]


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(hours=72), "3d"),
        (timedelta(minutes=90), "90m"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(0), "0d"),
    ],
)
def test_format_duration(length: timedelta, text: str) -> None:
    """A duration is written in the largest unit that divides it."""
    assert format_duration(length) == text
