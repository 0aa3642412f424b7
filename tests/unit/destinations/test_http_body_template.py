"""Bodies of ``format: template``."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from relay.config.types import MAX_BODY_TEXTS
from relay.core.exchange import Request
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.destinations import http
from relay.destinations.http import HttpDestination
from tests.unit.destinations.samples import ALL_INCLUDED, CONTAINER_GONE, CRASH, NOTIFICATIONS
from tests.unit.destinations.strategies import notifications, updates
from tests.unit.destinations.updates import SEVERAL, SINGLE_UPDATES

GOLDEN = Path(__file__).parent / "golden" / "template.json"
HEADLINE = f"{CRASH.actor.name} crashed with exit code 42"
BODY = {
    "title": "{{ headline }}",
    "tags": ["{{ severity }}", "{{ event.labels.get('tier', 'none') }}"],
    "code": "{{ event.exit_code }}",
    "log": "{{ included.logs | join('\n') }}",
    "urgent": True,
    "weight": 3,
    "none": None,
}


class Failures(list[tuple[str, str]]):
    """The templates that failed, and why."""

    def note(self, where: str, why: str) -> None:
        self.append((where, why))


def render(
    notification: Notification, failures: Failures | None = None, **parts: object
) -> Request:
    entry = {"url": "https://x/hook", "format": "template", **parts}
    to = HttpDestination.model_validate(entry)
    noted = Failures() if failures is None else failures
    return to.build_renderer((), noted.note, colour=False, zone=UTC_ZONE)(notification)


def body(notification: Notification, tree: object, failures: Failures | None = None) -> Any:
    return json.loads(render(notification, failures, body=tree).body)


def test_matches_the_golden_file() -> None:
    """The tree keeps its structure, and its templates are rendered."""
    all_kinds = (*NOTIFICATIONS, ALL_INCLUDED, CONTAINER_GONE)
    bodies = b",".join(render(notification, body=BODY).body for notification in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


INCIDENTS_BODY = {
    "title": "{{ headline }}",
    "names": "{{ incidents | map(attribute='subject') | join(', ') }}",
    "first": "{{ incident.subject }} is {{ incident.state }} since {{ incident.started_at }}",
    "status": "{{ notification.status }} ({{ reason }})",
    "project": "{{ group.get('project', '-') }}",
    "more": "{{ more }}",
    "all": "{{ incidents | tojson }}",
}


def test_incidents_match_the_golden_file() -> None:
    """Names, however hostile, stay within their texts."""
    updates = (*SINGLE_UPDATES, SEVERAL)
    bodies = b",".join(render(update, body=INCIDENTS_BODY).body for update in updates)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.with_stem("template_incidents").read_text()


@given(updates(5))
def test_any_incident_stays_within_its_text(update: Notification) -> None:
    """No name adds a key or ends a text."""
    tree = {"name": "{{ incident.subject }}", "all": "{{ incidents | tojson }}"}
    rendered = body(update, tree)
    assert rendered.keys() == tree.keys()
    names = [each.subject for each in update.update.incidents] if update.update else []
    assert [each["subject"] for each in json.loads(rendered["all"])] == names
    assert rendered["name"] == names[0]


def test_a_tree_is_json() -> None:
    """The request goes to the endpoint, with the content type of JSON."""
    request = render(NOTIFICATIONS[0], body={"a": "b"})
    assert (request.url, request.body) == ("https://x/hook", b'{"a":"b"}')
    assert request.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("parts", "kind"),
    [({}, "text/plain; charset=utf-8"), ({"content_type": "text/csv"}, "text/csv")],
)
def test_a_text_is_sent_unchanged(parts: dict[str, Any], kind: str) -> None:
    """A ``body_text`` is sent as rendered, with the configured content type."""
    request = render(build_notification("r", CRASH), body_text="{{ event.name }};ü\n", **parts)
    assert request.body == f"{CRASH.actor.name};ü\n".encode()
    assert request.headers == {"Content-Type": kind}


def test_the_headline_replaces_a_failing_template() -> None:
    """The other texts are unchanged, and the failure is reported with its path."""
    failures = Failures()
    tree = {"ok": "{{ event.image }}", "list": [{"bad": "{{ event.labels.nothing }}"}]}
    sent = body(build_notification("r", CRASH), tree, failures)
    assert sent == {
        "ok": "bb:1",
        "list": [{"bad": HEADLINE}],
    }
    assert failures == [("body.list[0].bad", "there is no 'nothing'")]
    request = render(
        build_notification("r", CRASH), failures, body_text="{{ event.labels.nothing }}"
    )
    assert request.body.decode() == HEADLINE
    assert failures[1][0] == "body_text"


def test_a_body_has_one_budget_for_all_its_texts() -> None:
    """Texts beyond the budget are replaced, and the first failure is reported."""
    failures = Failures()
    sent = body(build_notification("r", CRASH), ["{{ 'x' * 30000 }}"] * 9, failures)
    fits = http.BODY_MAX // 60_000  # made, and written
    assert [len(text) for text in sent[:fits]] == [30_000] * fits
    assert sent[fits:] == [HEADLINE] * (9 - fits)
    assert failures == [(f"body[{fits}]", "it creates or writes too many characters")]
    slow = "{% for i in range(999) %}{% for j in range(9) %}{% endfor %}{% endfor %}"
    assert body(build_notification("r", CRASH), [slow] * 20)[-1] == HEADLINE


def test_the_headline_replaces_a_few_failing_templates() -> None:
    """An ellipsis replaces the others, so failures do not make a body grow."""
    failures = Failures()
    sent = body(build_notification("r", CRASH), ["{{ 1 // 0 }}"] * MAX_BODY_TEXTS, failures)
    marks = MAX_BODY_TEXTS - http.HEADLINES_MAX
    assert sent == [HEADLINE] * http.HEADLINES_MAX + ["…"] * marks
    assert failures == [("body[0]", "it fails (ZeroDivisionError)")]


def test_the_next_notification_has_its_own_budget() -> None:
    """A budget that is used up does not affect the next notification or another destination."""
    to = HttpDestination.model_validate(
        {"url": "https://x", "format": "template", "body": ["{{ 'x' * 30000 }}"] * 4}
    )
    failures = Failures()
    render = to.build_renderer((), failures.note, colour=False, zone=UTC_ZONE)
    assert render(build_notification("r", CRASH)) == render(build_notification("r", CRASH))
    assert failures == []


@pytest.mark.parametrize("source", [r'{{ "\ud83d\ude00" }}', r'{{ "\ud83d" ~ "\ude00" }}'])
def test_halves_of_a_character_are_replaced(source: str) -> None:
    """Half a surrogate pair in a rendered text becomes a question mark."""
    assert body(build_notification("r", CRASH), [source]) == ["😀"]
    assert render(build_notification("r", CRASH), body_text=source).body.decode() == "😀"


def test_a_text_without_expressions_is_always_sent() -> None:
    """Such a text is sent even if other texts use up the budget."""
    actor = msgspec.structs.replace(CRASH.actor, attributes={"note": "x" * 65_000})
    long = build_notification("r", msgspec.structs.replace(CRASH, actor=actor))
    tree = [*["{{ event.labels.note }}"] * 9, {"key": "s3cret"}]
    failures = Failures()
    assert body(long, tree, failures)[-1] == {"key": "s3cret"}
    assert failures


@given(notifications)
def test_no_value_breaks_out_of_its_quotes(notification: Notification) -> None:
    """A value of an event stays within the text of its template."""
    event = notification.events[0]
    sent = body(notification, {"name": "{{ event.name }}", "same": "{{ event.labels | tojson }}"})
    assert set(sent) == {"name", "same"}
    assert sent["name"] == (event.actor.name or "")
    assert json.loads(sent["same"]) == dict(event.actor.attributes)


@given(notifications)
def test_a_text_is_always_bytes(notification: Notification) -> None:
    """A ``body_text`` with characters that have no encoding is sent nevertheless."""
    assert render(notification, body_text="<{{ event.name }}>").body.startswith(b"<")
