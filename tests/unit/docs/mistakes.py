"""Mistakes in a configuration: what `docs/mistakes.md` shows, each with what relay says about it.

Each part is completed to a whole configuration, so that it holds only its own mistakes.
"""

from collections.abc import Mapping, Sequence

import msgspec

ENVIRONMENT = {
    "EMPTY": "",
    "QUOTED": '"https://hooks.slack.com/services/T0/B0/c"',
    "TRAILING": "https://hooks.slack.com/services/T0/B0/c ",
    "TWO_LINES": "https://hooks.slack.com/services/T0/B0/c\nhttps://hooks.slack.com/services/T0/B0/d",
}
"""The environment in which the examples are read."""

FILES = {"two-lines.txt": "s3cret-one\ns3cret-two\n", "empty.txt": ""}
"""The files beside the configuration."""


class Chapter(msgspec.Struct, frozen=True):
    """Mistakes of one kind."""

    title: str
    text: str
    mistakes: Sequence[str]
    environ: Mapping[str, str] = msgspec.field(default_factory=lambda: ENVIRONMENT)


def _route(text: str) -> str:
    return f"routes:\n  - {text}\n"


def _match(text: str) -> str:
    return _route(f"{{name: a, match: {text}, to: ops}}")


def _destination(text: str) -> str:
    return f"destinations:\n  ops: {text}\n"


_PHONE = "destinations: {ops: {type: ntfy, topic: mine}}\n"


def _interval(text: str) -> str:
    return f"mute_time_intervals:\n  nights: [{text}]\n"


_SLACK = "https://hooks.slack.com/services/T0/B0/c"

CHAPTERS = (
    Chapter(
        "It is not YAML",
        "What YAML cannot read is one problem, because the rest of the file has no meaning then. "
        "A text has to be in quotes if it starts with one of ``* & ! | > % @ ` { [ ' \"`` or "
        "contains `: ` or ` #`.",
        (
            "destinations:\n    ops: {type: console}\n  audit: {type: console}\n",
            "destinations:\n  ops: {type: console}\n    audit: {type: console}\n",
            "routes:\n  - name: all\n   to: ops\n",
            "routes:\n  - name: all\n    to: ops\n  stop: true\n",
            "destinations:\n\tops: {type: console}\n",
            "destinations:\n  ops: {type: console\nroutes:\n  - {name: all, to: ops}\n",
            "routes:\n  - {name: all, to: [ops}\n",
            "routes:\n  - {name: all to: ops}\n",
            _match("{name: *}"),
            _match("{name: *-web}"),
            _match("{exit_code: >=128}"),
            _match("{name: [!a]*}"),
            _destination("{type: slack, url: ${SLACK_WEBHOOK_URL}}"),
            "routes:\n  - name: all\n    title: {{ event.name }} died\n    to: ops\n",
            'routes:\n  - name: all\n    title: "{{ event.name }}" died\n    to: ops\n',
            "routes:\n  - name: all\n    title: died: again\n    to: ops\n",
            "routes:\n  - name:all\n    to: ops\n",
            'routes:\n  - {name: "all, to: ops}\n',
            _match('{name: {regex: "web-\\d+"}}'),
            _match('{label: {"\\ud800": x}}'),
            "destinations:\n  ops: {type: console}\n  ops: {type: console}\n",
        ),
    ),
    Chapter(
        "A key that does not exist",
        "Unknown keys are errors: a setting that is ignored would be worse.",
        (
            _destination("{type: slack, webhook: https://hooks.slack.com/services/T0/B0/c}"),
            _destination("{type: slack, ulr: https://hooks.slack.com/services/T0/B0/c}"),
            _destination("{type: slack, url: https://hooks.slack.com/services/T0, channel: ops}"),
            _destination("{type: telegram, token: '1:AAAAAAAAAAAA', channel: 7}"),
            _destination("{type: console, topic: a}"),
            _destination("{type: http, url: https://h.lan, max_attempts: 3}"),
            _destination("{tpye: console}"),
            _destination("{type: consle}"),
            _route("{name: a, action: die, to: ops}"),
            _route("{name: a, container_name: web, to: ops}"),
            _route("{name: a, destination: ops}"),
            _route("{name: a, to: ops, logs: 20}"),
            _route("{name: a, to: ops, colour: red}"),
            _match("{container_name: web}"),
            _match("{event: die}"),
            _match("{status: unhealthy}"),
            _match("{project: shop}"),
            _match("{service: web}"),
            _match("{acton: die}"),
            _match("{colour: red}"),
            _match("{name: {regexp: a}}"),
            "engines:\n  here: {socket: /run/docker.sock}\n",
            "rules: []\n",
            "max_size: 1GiB\n",
            "to: ops\n",
            "colour: red\n",
        ),
    ),
    Chapter(
        "A value that cannot be used",
        "The message says what is wrong, and does not show a value that may be a secret.",
        (
            _destination("{type: slack}"),
            _destination("{type: slack, url: hooks.slack.com/services/T0/B0/c}"),
            _destination(f"{{type: http, url: 'https://{'a' * 64}.lan'}}"),
            _destination("{type: http, url: 'https://日本:secret@h.lan'}"),
            _destination("{type: http, url: https://h.lan, retry: {initial: 10}}"),
            _destination("{type: http, url: https://h.lan, rate_limit: 5}"),
            _destination("{type: matrix, url: https://h.lan, access_token: a, room_id: '#a:lan'}"),
            "engines:\n  here: {url: /run/docker.sock}\n",
            "engines:\n  here: {url: tcp://edge-1}\n",
            "engines:\n  here: {url: edge-1:2376}\n",
            "admin: {listen: 9321}\n",
            "admin: {listen: 127.0.0.1:9321, token: short}\n",
            "store: {max_size: 1}\n",
            "heartbeat: {every: 1s}\n",
            _route("{name: a, to: opps}"),
            _route("{name: a}"),
            _match("{cause: ooom}"),
            _match("{type: contaner}"),
            _match("{exit_code: '1..5'}"),
            _match("{name: {regex: 'web-('}}"),
            _match("{name: '[web'}"),
            "routes:\n  - {name: a, to: ops}\n  - {name: a, to: ops}\n",
            "routes:\n  - name: a\n    title: '{{ evnt.name }}'\n    to: ops\n",
            _route("{name: a, to: ops, link: '{{ event.labels.runbook }}'}"),
            _route("{name: a, to: ops, link: 'https://h.lan/?q={{ event.name | urlencode }}'}"),
        ),
    ),
    Chapter(
        "What is reported, and when",
        "What concerns an incident stands on a route or on its destination, what concerns a "
        "message on the destination: [incidents](incidents.md#the-keys).",
        (
            _destination(f"{{type: slack, url: {_SLACK}, notify: event}}"),
            _destination(f"{{type: slack, url: {_SLACK}, notify: events, group_wait: 5s}}"),
            _destination(f"{{type: slack, url: {_SLACK}, group_by: [project, tier]}}"),
            _destination(f"{{type: slack, url: {_SLACK}, group_by: [label.name]}}"),
            _destination(f"{{type: slack, url: {_SLACK}, repeat_interval: 10s}}"),
            _destination("{type: alertmanager, url: http://am:9093, group_by: [project]}"),
            _route("{name: a, to: ops, group_by: [project]}"),
            _route("{name: a, to: ops, notify: events, resolve_after: 5m}"),
            _route("{name: a, drop: true, notify: events}"),
        ),
    ),
    Chapter(
        "When nobody is notified",
        "Times of the week have a name in `mute_time_intervals`, and `mute` refers to it: "
        "[quiet](quiet.md).",
        (
            _interval("{times: '22:00'}"),
            _interval("{times: '02:00-02:00'}"),
            _interval("{times: '22:00-26:00'}"),
            _interval("{weekdays: [sat, son]}"),
            _interval("{weekdays: 'mon:fri'}"),
            _interval("{}"),
            _interval("{times: '22:00-07:00', time_zone: Berlin}"),
            _interval("{times: '22:00-07:00', timezone: UTC}"),
            "mute_time_intervals:\n  nights: []\n",
            "mute_time_intervals:\n  nights: {times: '22:00-07:00'}\n",
            "mute_time_intervals:\n  nights: [{times: '22:00-07:00'}]\n"
            + _route("{name: a, to: ops, mute: night}"),
            _route("{name: a, to: ops, mute: nights}"),
            _PHONE + _route("{name: a, to: ops, for: 30s}"),
            _PHONE + _route("{name: a, to: ops, for: 5m, resolve_after: 10m}"),
            _route("{name: a, to: ops, for: 8d}"),
            _route("{name: a, to: ops, notify: events, for: 5m}"),
            "labels: {enable: false, require: true}\n",
        ),
    ),
    Chapter(
        "A variable or a file with the wrong content",
        "`EMPTY` is set, but empty; `QUOTED` has quotes around its value; `TRAILING` ends with a "
        "blank; `TWO_LINES` and `two-lines.txt` have two lines.",
        (
            _destination('{type: slack, url: "${SLACK_WEBHOOK_URL}"}'),
            _destination('{type: slack, url: "${EMPTY}"}'),
            _destination('{type: slack, url: "${QUOTED}"}'),
            _destination('{type: slack, url: "${TRAILING}"}'),
            _destination('{type: slack, url: "${TWO_LINES}"}'),
            _destination('{type: http, url: https://h.lan, bearer_token: "${EMPTY}"}'),
            _destination("{type: http, url: https://h.lan, bearer_token_file: two-lines.txt}"),
            _destination("{type: http, url: https://h.lan, bearer_token_file: empty.txt}"),
            _destination("{type: http, url: https://h.lan, bearer_token_file: missing.txt}"),
            _destination('{type: slack, url: "${SLACK-WEBHOOK-URL}"}'),
        ),
    ),
    Chapter(
        "What is allowed, but cannot work",
        "These are warnings: relay runs with them, because it cannot know everything that an "
        "engine or a receiver does. `relay check --strict` makes them errors. It also warns of "
        "an engine's socket that does not exist, and with `--connect` tries to reach everything.",
        (
            _interval("{times: '22:00-07:00'}"),
            _PHONE
            + "mute_time_intervals:\n  always: [{weekdays: mon-sun}]\n"
            + _route("{name: a, match: {action: die}, to: ops, mute: always}"),
            _PHONE + "mute_time_intervals:\n  nights: [{times: '22:00-07:00'}]\n"
            "  days: [{times: '07:00-22:00'}]\n"
            + _route("{name: a, match: {action: die}, to: ops, mute: [nights, days]}"),
            "destinations:\n  ops: {type: console}\n  phone: {type: ntfy, topic: mine}\n"
            + _route("{name: a, match: {action: die}, to: [ops, phone], for: 5m}"),
            "destinations:\n  ops: {type: console}\n  spare: {type: console}\n",
            _destination("{type: slack, url: https://discord.com/api/webhooks/123/abc}"),
            _destination("{type: discord, url: https://hooks.slack.com/services/T0/B0/c}"),
            _destination("{type: http, url: https://hooks.slack.com/services/T0/B0/c}"),
            _destination("{type: teams, url: https://contoso.webhook.office.com/webhookb2/a}"),
            _destination("{type: ntfy, url: https://ntfy.sh/alerts, topic: alerts}"),
            _destination("{type: alertmanager, url: http://alerts.lan:9093/api/v2/alerts}"),
            _destination("{type: pagerduty, routing_key: abc}"),
            _destination("{type: http, url: https://hook.example.com}"),
            _destination("{type: http, url: https://h.lan, bearer_token: <your token>}"),
            _destination("{type: http, url: https://h.lan, bearer_token: '\"abc\"'}"),
            _destination("{type: slack, url: https://hooks.slack.com/services/T0/B0/c}")
            + _route("{name: all, to: ops}"),
            "routes:\n  - {name: all, to: ops, stop: true}\n"
            "  - {name: crashed, match: {action: die, cause: crashed}, to: ops}\n",
            "routes:\n  - {name: all, to: ops}\n"
            "  - {name: crashed, match: {action: die, cause: crashed}, to: ops}\n",
            _route("{name: a, match: {action: die}, title: '{{ event.name }}', to: ops}"),
            _route("{name: a, match: {type: image}, include: {logs: 20}, to: ops}"),
            _destination("{type: console, group_by: [project]}"),
            _route("{name: a, match: {type: image}, to: ops, resolve_after: 5m}"),
            _match("{action: oom, cause: oom}"),
            _match("{cause: crashed, exit_code: 0}"),
            _match("{type: image, action: die}"),
            _match("{action: destination_failing}"),
            _match("{action: crash}"),
            _match('{action: "health_status:unhealthy"}'),
            _match("{health: sick}"),
            _match("{name: /web}"),
            _match("{id: 4b1d0c5e7a90}"),
            _match("{label: {name: web}}"),
        ),
    ),
)


def complete(part: str) -> str:
    """Return a whole configuration that begins with ``part``."""
    keys = {line.partition(":")[0] for line in part.splitlines()}
    rest = {
        "destinations": "destinations: {ops: {type: console}}\n",
        "routes": "routes: [{name: rest, match: {type: [config, node]}, to: ops}]\n",
    }
    return part + "".join(text for key, text in rest.items() if key not in keys)
