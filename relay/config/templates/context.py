"""What templates are filled with: plain values by name, of which nothing can be called."""

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from itertools import islice

from relay.config.templates.template import CHARS_MAX, Facts, step
from relay.core.event import Actor, Cause, Event, rfc3339
from relay.core.notification import Included, Notification, Severity, notify, severity

Spell = Callable[[str], str]

VALUE_MAX = CHARS_MAX
"""The characters of a value that a template gets."""
LABELS_MAX = 1_000
"""Of so many labels, the first, a template can make a list; any of them it can name."""
DEPTH_MAX = 32
"""So deep an inspect field is given; an engine's own are a few deep."""
_DEEPER = "…"


def context(
    notification: Notification, headline: str, told: Included, spell: Spell = str
) -> Mapping[str, object]:
    """The names that a template may use.

    ``spell`` is how the texts that others chose are written. What is absent is None, which a
    template writes as nothing; a label that is absent is not there, and using it fails.
    """
    events = [_event(event, spell) for event in notification.events]
    return {
        "event": events[0],
        "events": events,
        "notification": Facts(
            id=notification.id,
            route=notification.route,
            status=notification.status.value,
            count=notification.count,
            suppressed=notification.suppressed,
        ),
        "severity": severity(notification).value,
        "headline": headline,
        "included": Facts(
            logs=[_spelt(line, spell) for line in told.logs or ()],
            health=_spelt(told.health, spell),
            inspect=_spelt(dict(told.inspect), spell),
            missing=_spelt(told.missing, spell),
        ),
    }


class Labels(dict[str, str]):
    """What an engine says of an actor, written only where a template asks for it.

    There can be megabytes of it, and a template uses some words: each is counted as it is given.
    """

    def __init__(self, values: Mapping[str, str], spell: Spell) -> None:
        super().__init__(values)
        self._spell = spell

    def __getitem__(self, key: str) -> str:
        return self._given(super().__getitem__(key))

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        """The value of a label, or something in its place."""
        return self[key] if key in self else default  # noqa: SIM401 - it is what that calls

    def items(self) -> ItemsView[str, str]:  # type: ignore[override]
        """The first of them, by name."""
        return self._first().items()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Likewise."""
        return self._first().keys()

    def values(self) -> ValuesView[str]:  # type: ignore[override]
        """Likewise."""
        return self._first().values()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def _first(self) -> dict[str, str]:
        return {self._given(key): self[key] for key in islice(super().keys(), LABELS_MAX)}

    def _given(self, text: str) -> str:
        some = text[:VALUE_MAX]
        step(some)
        return self._spell(some)


def _event(event: Event, spell: Spell) -> Facts:
    labels = Labels(event.actor.attributes, spell)
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
    return Facts(
        {key: _spelt(value, spell) for key, value in named.items()},
        id=event.id,
        engine=event.engine,
        time=rfc3339(event.time_ns),
        time_ns=event.time_ns,
        labels=labels,
        attributes=labels,
        cause=None if event.cause is None else event.cause.value,
        exit_code=event.exit_code,
        signal=event.signal,
        origin=event.origin.value,
    )


def _spelt(value: object, spell: Spell, deeper: int = DEPTH_MAX) -> object:
    """JSON with every text in it as it is to be written."""
    match value:
        case str():
            return spell(value[:VALUE_MAX])
        case dict() | list() | tuple() if not deeper:
            return _DEEPER
        case dict():
            return {spell(key): _spelt(inner, spell, deeper - 1) for key, inner in value.items()}
        case list() | tuple():
            return [_spelt(inner, spell, deeper - 1) for inner in value]
        case _:
            return value


class _Every(dict[str, object]):
    """Has whatever it is asked for: the sample's labels and fields are anybody's."""

    def __contains__(self, key: object) -> bool:
        return key not in ("get", "items", "keys", "values")

    def __getitem__(self, key: str) -> str:
        return f"sample {key}"

    def get(self, key: str, default: object = None) -> object:
        return self[key]


def sample() -> Mapping[str, object]:
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
    made = notify("sample", event, severity=Severity.CRITICAL)
    found = dict(context(made, "web-1 crashed with exit code 3", told))
    labels = _Every(tier="sample")
    facts = Facts(_event(event, str), labels=labels, attributes=labels)
    included = Facts(found["included"], inspect=labels)  # type: ignore[call-overload]
    return {**found, "event": facts, "events": [facts], "included": included}
