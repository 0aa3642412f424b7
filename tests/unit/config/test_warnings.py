"""What is allowed in a configuration, but cannot work."""

from pathlib import Path

import pytest
from hypothesis import given

from relay.config.match import Match
from relay.config.match_parser import parse_match
from relay.config.warnings import covers, find_warnings
from relay.config.yaml_reader import read_document
from relay.core.event import Event
from relay.destinations.catalog import DESTINATION_TYPES, default_config, parse_config
from tests.unit.routing.reference_matcher import events, matches, reference_matches

SLACK = "https://hooks.slack.com/services/T0/B0/c"
DISCORD = "https://discord.com/api/webhooks/123/abc"
CRASHED = "match: {type: container, action: die}"


def _warnings(text: str, **environ: str) -> list[str]:
    """The path and message of each warning."""
    config = parse_config(text, file="f", environ=environ, folder=Path(__file__).parent)
    found = find_warnings(config, DESTINATION_TYPES)
    return [f"{'.'.join(map(str, issue.path))}: {issue.message}" for issue in found]


def _of_destination(text: str) -> list[str]:
    found = _warnings(f"destinations: {{a: {text}}}\nroutes: [{{name: r, {CRASHED}, to: a}}]")
    return [warning.removeprefix("destinations.a.") for warning in found]


def _of_routes(*routes: str) -> list[str]:
    items = "".join(f"  - {{name: r{at}, {route}}}\n" for at, route in enumerate(routes))
    return _warnings(
        f"destinations: {{a: {{type: console}}, b: {{type: console}}, "
        f"ops: {{type: slack, url: '{SLACK}'}}}}\nroutes:\n{items}"
        "  - {name: last, match: {type: [config]}, to: [a, b, ops]}"
    )


def _of_match(text: str) -> list[str]:
    found = _of_routes(f"match: {text}, to: a")
    return [warning.removeprefix("routes.0.match.") for warning in found]


def test_the_default_configuration_has_none() -> None:
    """What relay does by itself is no mistake."""
    assert find_warnings(default_config(), DESTINATION_TYPES) == []


@pytest.mark.parametrize(
    "text",
    [
        f"{{type: slack, url: '{SLACK}'}}",
        f"{{type: slack, url: '{DISCORD}/slack'}}",
        "{type: http, url: 'https://static.1.2.3.4.clients.your-server.de/hook'}",
        """{type: http, url: 'https://h.lan', basic_auth: {username: a, password: "it's'"}}""",
        "{type: slack, url: 'https://mattermost.example.lan/hooks/a1'}",
        f"{{type: discord, url: '{DISCORD}?thread_id=1'}}",
        f"{{type: http, url: '{SLACK}', format: template, body: {{text: '{{{{ headline }}}}'}}}}",
        "{type: teams, url: 'https://prod-1.westeurope.logic.azure.com:443/workflows/a?sig=b'}",
        "{type: ntfy, topic: mine}",
        "{type: ntfy, url: 'https://push.lan/', topic: mine}",
        "{type: alertmanager, url: 'http://am:9093/prefix'}",
        "{type: telegram, token: '123456:ABC-DEF1234ghIkl-zyx57W2v1u', chat_id: 1}",
        "{type: gotify, url: 'https://push.lan/gotify', token: Ab.c1}",
        "{type: http, url: 'http://10.0.0.1/x', headers: {X-A: '{{ event.name or \"<b>\" }}'}}",
        f"{{type: pagerduty, routing_key: {'a1' * 16}}}",
    ],
)
def test_a_destination_that_works(text: str) -> None:
    """No warning is about a destination as its service describes it."""
    assert _of_destination(text) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (f"{{type: slack, url: '{DISCORD}'}}", "url: belongs to another service: write 'type: dis"),
        (f"{{type: discord, url: '{SLACK}'}}", "url: belongs to another service: write 'type: sla"),
        (f"{{type: mattermost, url: '{SLACK}'}}", "url: belongs to another service: write 'type"),
        (f"{{type: http, url: '{SLACK}'}}", "url: belongs to another service: write 'type: slack'"),
        (
            "{type: http, url: 'https://chat.googleapis.com/v1/spaces/A/messages?key=b'}",
            "url: belongs to another service: write 'type: googlechat'",
        ),
        (
            "{type: teams, url: 'https://contoso.webhook.office.com/webhookb2/a@b/IncomingWebhook'}",
            "url: is a connector, which Microsoft has retired",
        ),
        (
            "{type: teams, url: 'https://outlook.office.com/webhook/a@b'}",
            "url: is a connector, which Microsoft has retired",
        ),
        (
            "{type: ntfy, url: 'https://ntfy.sh/mine', topic: a}",
            "url: has a path: write the topic into 'topic'",
        ),
        (
            "{type: alertmanager, url: 'http://am:9093/api/v2/alerts'}",
            "url: has the path of the API already",
        ),
        ("{type: gotify, url: 'http://g/message', token: a}", "url: has the path of the API"),
        (
            "{type: matrix, url: 'https://m.lan/_matrix/client', access_token: a, room_id: '!a:b'}",
            "url: has the path of the API already",
        ),
        (
            "{type: telegram, url: 'https://api.telegram.org/bot1:a/sendMessage', "
            "token: '123456:ABC-DEF1234ghIkl-zyx57W2v1u', chat_id: 1}",
            "url: has the path of the API already",
        ),
        ("{type: pagerduty, routing_key: abc}", "routing_key: is not an integration key"),
        ("{type: http, url: 'https://audit.example.com/x'}", "url: looks like a placeholder"),
        (
            "{type: slack, url: 'https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXX'}",
            "url: looks like a placeholder",
        ),
        ("{type: http, url: 'https://h.lan', bearer_token: '<token>'}", "bearer_token: looks like"),
        (
            "{type: http, url: 'https://h.lan', headers: {X-Key: your-key-here}}",
            "headers.X-Key: looks like a placeholder",
        ),
        (
            "{type: http, url: 'https://h.lan', basic_auth: {username: a, password: changeme}}",
            "basic_auth.password: looks like a placeholder",
        ),
        (
            "{type: http, url: 'https://h.lan', bearer_token: '\"abc\"'}",
            "bearer_token: has quotes around it",
        ),
        (
            "{type: http, url: 'https://h.lan', bearer_token: 'abc '}",
            "bearer_token: begins or ends with a blank",
        ),
    ],
)
def test_a_destination_that_cannot_work(text: str, warning: str) -> None:
    """A URL or a key of another kind is found by its form."""
    (found,) = _of_destination(text)
    assert found.startswith(warning)


def test_a_destination_that_no_route_uses() -> None:
    """It is probably missing in a route."""
    text = "destinations: {a: {type: console}, b: {type: console}}\nroutes: [{name: r, to: a}]"
    assert _warnings(text) == ["destinations.b: no route sends to it"]


def test_every_event_to_people() -> None:
    """A route without a match wakes people for each health check; a program may want it all."""
    (found,) = _of_routes("to: ops")
    assert found.startswith("routes.0.match: sends every event of the engines to people")
    assert _of_routes("to: a") == []


@pytest.mark.parametrize(
    ("first", "second", "warning"),
    [
        (
            "to: a, stop: true",
            f"{CRASHED}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'stop'",
        ),
        (
            "drop: true",
            f"{CRASHED}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'drop'",
        ),
        (
            "match: {type: container}, drop: true",
            f"{CRASHED}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'drop'",
        ),
        (
            "match: {action: [die, oom]}, to: a, stop: true",
            f"{CRASHED}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'stop'",
        ),
        (
            "match: {exit_code: '>=1'}, drop: true",
            "match: {exit_code: '100-137', name: web}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'drop'",
        ),
        (
            "match: {action: 'exec_*'}, drop: true",
            "match: {action: [exec_start, 'exec_die: sh']}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'drop'",
        ),
        (
            "match: {any: [{name: web}, {action: die}]}, drop: true",
            f"{CRASHED}, to: b",
            "is never reached: routes[0] takes all of its events first, and has 'drop'",
        ),
        ("to: a", f"{CRASHED}, to: a", "sends nothing: routes[0] sends all of its events"),
    ],
)
def test_a_route_that_does_nothing(first: str, second: str, warning: str) -> None:
    """A route above it takes all of its events."""
    assert any(found.startswith(f"routes.1.name: {warning}") for found in _of_routes(first, second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("to: a", f"{CRASHED}, to: b"),
        ("to: a, stop: true", "match: {type: relay}, to: b"),
        ("match: {action: die}, drop: true", "match: {type: container}, to: b"),
        ("match: {action: die, name: web}, drop: true", f"{CRASHED}, to: b"),
        ("match: {action: die, not: {name: web}}, drop: true", f"{CRASHED}, to: b"),
        ("match: {name: 'web-*'}, drop: true", "match: {name: '*'}, to: b"),
        ("match: {label: {a: x}}, drop: true", "match: {label: {b: x}}, to: b"),
        ("match: {exit_code: '1-9'}, drop: true", "match: {exit_code: '>=1'}, to: b"),
    ],
)
def test_a_route_that_still_gets_events(first: str, second: str) -> None:
    """A route above it leaves some of its events."""
    assert not any(found.startswith("routes.1.name") for found in _of_routes(first, second))


def test_texts_that_nobody_sees() -> None:
    """Only some destinations show the title and the text of a route."""
    expected = "routes.0.title: does nothing: no destination of this route shows it"
    assert _of_routes(f"{CRASHED}, to: a, title: x") == [expected]
    assert _of_routes(f"{CRASHED}, to: [a, ops], title: x") == []
    assert _of_routes(f"{CRASHED}, to: a, link: 'https://x'") == [expected.replace("title", "link")]


@pytest.mark.parametrize("match", ["{type: image}", "{all: [{type: [network, volume]}]}"])
def test_what_is_included_of_things_that_have_none(match: str) -> None:
    """Only containers have logs, health checks and an inspection that relay asks for."""
    (found,) = _of_routes(f"match: {match}, include: {{logs: 5}}, to: a")
    assert found.startswith("routes.0.include: does nothing: only containers have logs")


def test_what_is_included_of_containers() -> None:
    """A match that may take containers may include what they have."""
    for match in ("{type: [container, image]}", "{action: die}", "{type: 'c*'}"):
        assert _of_routes(f"match: {match}, include: {{logs: 5}}, to: a") == []


@pytest.mark.parametrize(
    ("match", "warning"),
    [
        (
            "{action: oom, cause: oom}",
            "cause: never matches: only events with the action 'die' have a cause",
        ),
        ("{type: image, cause: crashed}", "cause: never matches: only containers have a cause"),
        (
            "{action: [start, stop], exit_code: 0}",
            "exit_code: never matches: only events with the action 'die' or 'exec_die' or ",
        ),
        (
            "{action: die, signal: KILL}",
            "signal: never matches: only events with the action 'kill' have a signal",
        ),
        (
            "{action: die, health: unhealthy}",
            "health: never matches: only events with the action 'health_status' have a health",
        ),
        (
            "{exit_code: 0, cause: crashed}",
            "exit_code: never matches: a container that crashed has another",
        ),
        (
            "{exit_code: '>=1', cause: finished}",
            "exit_code: never matches: a container that finished has the e",
        ),
        ("{type: volume, action: die}", "action: never matches: only containers have this action"),
        (
            "{type: relay, action: die}",
            "action: never matches: relay's own events have the actions ",
        ),
        (
            "{action: dead_letter}",
            "action: is an action of relay's own events: write 'typ",
        ),
        ("{type: container, action: 'destination_*'}", "action: is an action of relay's own even"),
        ("{health: sick}", "health.0: is not a state of health that relay knows"),
        ("{type: thing}", "type.0: is not a type of events that relay knows"),
        (
            "{action: crash}",
            "action.0: is not an action of any engine (did you mean 'action",
        ),
        ("{action: explode}", "action.0: is not an action that relay knows"),
        ('{action: "health_status:unhealthy"}', "action.0: has no space after the ':'"),
        ("{name: [web, /db]}", "name.1: begins with a '/'"),
        (
            "{label: {name: web}}",
            "label.name: never matches: the engine's own 'name' replaces a label",
        ),
        ("{id: 0123456789ab}", "id.0: is the beginning of an id"),
        (
            "{all: [{name: web}, {name: db}]}",
            "all.1.name: never matches: another condition on 'name' excludes it",
        ),
        (
            "{action: oom, any: [{name: web}, {cause: oom}]}",
            "any.1.cause: never matches: only events with the action 'die' have a cause",
        ),
        (
            "{cause: crashed, any: [{action: die}, {action: oom}]}",
            "any.1.action: never matches: only events with the action 'die' have a cause",
        ),
    ],
)
def test_conditions_that_nothing_fulfils(match: str, warning: str) -> None:
    """A value that no engine sends, or two conditions that exclude each other."""
    (found,) = _of_match(match)
    assert found.startswith(warning)


@pytest.mark.parametrize(
    "match",
    [
        "{action: die, cause: [crashed, oom], exit_code: '1-255'}",
        "{action: exec_died, exit_code: 3}",
        "{action: [oom, die], cause: crashed}",
        "{action: 'd*', cause: crashed}",
        "{action: {regex: 'd.*'}, cause: crashed}",
        "{action: {not: oom}, cause: crashed}",
        "{action: oom, cause: {exists: false}}",
        "{action: 'health_status: unhealthy', health: unhealthy}",
        "{type: relay, action: [gap, dead_letter]}",
        "{any: [{type: relay, action: gap}, {action: die}]}",
        "{type: pod, action: start}",
        "{exit_code: 0, cause: [crashed, finished]}",
        "{name: web, all: [{name: 'w*'}]}",
        "{not: {action: oom, cause: oom}}",
        "{id: '0123456789ab*'}",
        "{label: {a: /x, name: {exists: false}}}",
    ],
)
def test_conditions_that_some_event_fulfils(match: str) -> None:
    """No warning is about what can happen."""
    assert _of_match(match) == []


def test_covers_is_about_the_same_events() -> None:
    """A match takes all that an equal one takes, and one without conditions takes everything."""
    text = "{type: container, label: {a: [x, {regex: y}]}, not: {name: {exists: true}}}"
    match = parse_match(read_document(f"match: {text}", "f").data["match"])
    assert covers(match, match)
    assert covers(parse_match({}), match)
    assert not covers(match, parse_match({}))


@given(matches, matches, events)
def test_what_is_covered_is_taken(above: Match, other: Match, event: Event) -> None:
    """An event that fits the match below fits the one above, by the naive matcher."""
    for below in (other, Match((*above.fields, *other.fields), above.any, above.all, above.not_)):
        if covers(above, below) and reference_matches(below, event):
            assert reference_matches(above, event)
