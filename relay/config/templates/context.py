"""What templates are filled with: plain values by name, of which nothing can be called."""

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from itertools import islice

from relay.config.templates.template import MAX_CHARS, TemplateValues, count_work
from relay.core.event import Actor, Cause, Event, format_rfc3339
from relay.core.notification import (
    Included,
    Notification,
    Severity,
    build_notification,
    resolve_severity,
)

Escape = Callable[[str], str]

MAX_VALUE_CHARS = MAX_CHARS
"""The characters of a value that a template gets."""
MAX_LABELS = 1_000
"""Of so many labels, the first, a template can make a list; any of them it can name."""
MAX_DEPTH = 32
"""So deep an inspect field is given; an engine's own are a few deep."""
_TOO_DEEP = "…"


def build_context(
    notification: Notification, headline: str, included: Included, escape: Escape = str
) -> Mapping[str, object]:
    """The names that a template may use.

    ``spell`` is how the texts that others chose are written. What is absent is None, which a
    template writes as nothing; a label that is absent is not there, and using it fails.
    """
    events = [_event_values(event, escape) for event in notification.events]
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
    }


class Labels(dict[str, str]):
    """What an engine says of an actor, written only where a template asks for it.

    There can be megabytes of it, and a template uses some words: each is counted as it is given.
    """

    def __init__(self, values: Mapping[str, str], escape: Escape) -> None:
        super().__init__(values)
        self._escape = escape

    def __getitem__(self, key: str) -> str:
        return self._to_value(super().__getitem__(key))

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        """The value of a label, or something in its place."""
        return self[key] if key in self else default  # noqa: SIM401 - it is what that calls

    def items(self) -> ItemsView[str, str]:  # type: ignore[override]
        """The first of them, by name."""
        return self._listed().items()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Likewise."""
        return self._listed().keys()

    def values(self) -> ValuesView[str]:  # type: ignore[override]
        """Likewise."""
        return self._listed().values()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def _listed(self) -> dict[str, str]:
        return {self._to_value(key): self[key] for key in islice(super().keys(), MAX_LABELS)}

    def _to_value(self, text: str) -> str:
        some = text[:MAX_VALUE_CHARS]
        count_work(some)
        return self._escape(some)


def _event_values(event: Event, escape: Escape) -> TemplateValues:
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
        time=format_rfc3339(event.time_ns),
        time_ns=event.time_ns,
        labels=labels,
        attributes=labels,
        cause=None if event.cause is None else event.cause.value,
        exit_code=event.exit_code,
        signal=event.signal,
        origin=event.origin.value,
    )


def _escape_texts(value: object, escape: Escape, depth: int = MAX_DEPTH) -> object:
    """JSON with every text in it as it is to be written."""
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
    """Has whatever it is asked for: the sample's labels and fields are anybody's."""

    def __contains__(self, key: object) -> bool:
        return key not in ("get", "items", "keys", "values")

    def __getitem__(self, key: str) -> str:
        return f"sample {key}"

    def get(self, key: str, default: object = None) -> object:
        return self[key]


def sample_context() -> Mapping[str, object]:
    """A context of a death of which everything is known: what a template has to be able to use."""
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
    told = Included(("first line", "last line"), "sample", {}, "sample")
    made = build_notification("sample", event, severity=Severity.CRITICAL)
    found = dict(build_context(made, "web-1 crashed with exit code 3", told))
    labels = _AnyKey(tier="sample")
    facts = TemplateValues(_event_values(event, str), labels=labels, attributes=labels)
    included = TemplateValues(found["included"], inspect=labels)  # type: ignore[call-overload]
    return {**found, "event": facts, "events": [facts], "included": included}
