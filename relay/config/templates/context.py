"""The context of a template: plain values by name, with nothing that can be called."""

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from itertools import islice

from msgspec.structs import replace

from relay.config.templates.budget import MAX_CHARS, count_escapes, count_work
from relay.core.event import Actor, Cause, Event, format_rfc3339
from relay.core.incident import (
    Condition,
    IncidentReport,
    Resolution,
    Status,
    Update,
    UpdateReason,
    describe_problem,
    incident_object,
)
from relay.core.include import Included
from relay.core.notification import Notification, build_notification, resolve_severity
from relay.core.severity import Severity

Escape = Callable[[str], str]

NAMES = (
    *("event", "events", "notification", "severity", "headline", "included"),
    *("incident", "incidents", "group", "reason", "more"),
)
"""The top-level names of a context."""
STATUS_NAMES = ("incident", "incidents", "group", "notification.status")
"""A title that names one of these says how its incidents are: relay adds nothing to it."""
MAX_VALUE_CHARS = MAX_CHARS
"""A template gets at most this many characters of a value."""
MAX_LABELS = 1_000
"""A template can list only this many labels, the first; it can look up any label by name."""
MAX_DEPTH = 32
"""The depth to which an inspect field is passed on. The fields of engines are a few levels deep."""
_TOO_DEEP = "…"


class TemplateValues(dict[str, object]):
    """Values with names that relay defines, so that errors can suggest the right name."""


def build_context(
    notification: Notification,
    headline: str,
    included: Included,
    escape: Escape = str,
    format_time: Callable[[int], str] = format_rfc3339,
) -> Mapping[str, object]:
    """Build the values that a template may use, by name.

    ``escape`` is applied to every text that comes from the engine or the container. An absent value
    is None, which a template writes as empty text. Using a label that does not exist is an error.
    """
    events = [_event_values(event, escape, format_time) for event in notification.events]
    return {
        "event": events[0],
        "events": events,
        "notification": TemplateValues(
            id=notification.id,
            route=notification.route,
            status=notification.status.value,
            count=notification.count,
            suppressed=notification.suppressed,
        ),
        "severity": resolve_severity(notification).value,
        "headline": headline,
        "included": TemplateValues(
            logs=[_escape_texts(line, escape) for line in included.logs or ()],
            health=_escape_texts(included.health, escape),
            inspect=_escape_texts(dict(included.inspect), escape),
            missing=_escape_texts(included.missing, escape),
        ),
        **_update_values(notification.update, escape, format_time),
    }


def _update_values(
    update: Update | None, escape: Escape, format_time: Callable[[int], str]
) -> Mapping[str, object]:
    """Return what a notification reports about incidents; empty values if it reports none.

    `incident` and `group` are then empty mappings, so that a template can ask whether there is one,
    and `get` finds nothing in them.
    """
    reports = () if update is None else update.incidents
    incidents = [_incident_values(report, escape, format_time) for report in reports]
    return {
        "incident": incidents[0] if incidents else {},
        "incidents": incidents,
        "group": _escape_texts(dict((update and update.group) or {}), escape),
        "reason": None if update is None else update.reason.value,
        "more": 0 if update is None else update.more,
    }


def _incident_values(
    report: IncidentReport, escape: Escape, format_time: Callable[[int], str]
) -> TemplateValues:
    values = incident_object(report, format_time)
    return TemplateValues({key: _escape_texts(value, escape) for key, value in values.items()})


class Labels(dict[str, str]):
    """Labels and attributes, escaped and counted only when a template uses them.

    There can be megabytes of them, and a template uses only a few.
    """

    def __init__(self, values: Mapping[str, str], escape: Escape) -> None:
        super().__init__(values)
        self._escape = escape

    def __getitem__(self, key: str) -> str:
        return self._to_value(super().__getitem__(key))

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        """Return the value of a label, or ``default``."""
        return self[key] if key in self else default  # noqa: SIM401 - dict.get would not escape

    def items(self) -> ItemsView[str, str]:  # type: ignore[override]
        """Return the first `MAX_LABELS` labels."""
        return self._first_labels().items()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return the names of the first `MAX_LABELS` labels."""
        return self._first_labels().keys()

    def values(self) -> ValuesView[str]:  # type: ignore[override]
        """Return the values of the first `MAX_LABELS` labels."""
        return self._first_labels().values()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def _first_labels(self) -> dict[str, str]:
        return {self._to_value(key): self[key] for key in islice(super().keys(), MAX_LABELS)}

    def _to_value(self, text: str) -> str:
        text = text[:MAX_VALUE_CHARS]
        count_work(text)
        escaped = self._escape(text)
        if escaped != text:
            count_escapes(len(text), len(escaped))
        return escaped


def _event_values(
    event: Event, escape: Escape, format_time: Callable[[int], str] = format_rfc3339
) -> TemplateValues:
    labels = Labels(event.actor.attributes, escape)
    named = {
        "host": event.host,
        "type": event.type,
        "action": event.action,
        "detail": event.detail,
        "scope": event.scope,
        "actor_id": event.actor.id,
        "name": event.actor.name,
        "image": event.actor.image,
        "health": event.health,
    }
    return TemplateValues(
        {key: _escape_texts(value, escape) for key, value in named.items()},
        id=event.id,
        engine=event.engine,
        time=format_time(event.time_ns),
        time_ns=event.time_ns,
        labels=labels,
        attributes=labels,
        cause=None if event.cause is None else event.cause.value,
        exit_code=event.exit_code,
        signal=event.signal,
        origin=event.origin.value,
        interactive=event.interactive,
    )


def _escape_texts(value: object, escape: Escape, depth: int = MAX_DEPTH) -> object:
    """Escape every text in plain data, and cut what is too long or nested too deep."""
    match value:
        case str():
            return escape(value[:MAX_VALUE_CHARS])
        case dict() | list() | tuple() if not depth:
            return _TOO_DEEP
        case dict():
            return {
                escape(key): _escape_texts(inner, escape, depth - 1) for key, inner in value.items()
            }
        case list() | tuple():
            return [_escape_texts(inner, escape, depth - 1) for inner in value]
        case _:
            return value


class _AnyKey(dict[str, object]):
    """A mapping that has every key: the sample cannot know which labels a template uses."""

    def __contains__(self, key: object) -> bool:
        return key not in ("get", "items", "keys", "values")

    def __getitem__(self, key: str) -> str:
        return f"sample {key}"

    def get(self, key: str, default: object = None) -> object:
        return self[key]


def sample_context() -> Mapping[str, object]:
    """Build the context of a sample event with all values set, to check templates with."""
    event = Event(
        id="evt_0123456789abcdef0123456789abcdef",
        engine="local",
        host="node-1",
        type="container",
        action="die",
        detail="sample",
        scope="local",
        time_ns=1_795_416_514_938_518_046,
        actor=Actor("f53eb17c442d", "web-1", "shop/web:1", {}),
        cause=Cause.CRASHED,
        exit_code=3,
        signal=9,
        health="unhealthy",
    )
    included = Included(("first line", "last line"), "sample", {}, "sample")
    notification = replace(
        build_notification("sample", event, severity=Severity.CRITICAL),
        update=Update(UpdateReason.OPENED, (_sample_incident(event),), group={"project": "shop"}),
    )
    context = build_context(notification, "web-1 crashed with exit code 3", included)
    labels = _AnyKey(tier="sample")
    values = TemplateValues(_event_values(event, str), labels=labels, attributes=labels)
    inspected = TemplateValues(context["included"], inspect=labels)  # type: ignore[call-overload]
    return {
        **context,
        "event": values,
        "events": [values],
        "included": inspected,
        "group": _AnyKey(),
    }


def _sample_incident(event: Event) -> IncidentReport:
    return IncidentReport(
        id="inc_0123456789abcdef0123456789abcdef",
        status=Status.FIRING,
        condition=Condition.DOWN,
        route="sample",
        severity=Severity.CRITICAL,
        subject="web-1",
        reason=UpdateReason.OPENED,
        crash_looping=True,
        started_ns=event.time_ns,
        ended_ns=event.time_ns,
        resolution=Resolution.RECOVERED,
        count=1,
        total=1,
        deaths=1,
        unhealthy=0,
        notified_before=False,
        sequence=1,
        opening_route="sample",
        problem=describe_problem(event, event),
    )
