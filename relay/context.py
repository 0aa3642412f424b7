"""What templates are filled with: plain values by name, of which nothing can be called."""

from collections.abc import Callable, Mapping

from relay.event import Actor, Cause, Event, rfc3339
from relay.notification import Included, Notification, Severity, notify, severity
from relay.template import Facts

Spell = Callable[[str], str]


def context(
    notification: Notification, headline: str, told: Included, spell: Spell = str
) -> Mapping[str, object]:
    """The names that a template may use.

    ``spell`` is how the values that others chose are written. What is absent is None, which a
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
            logs=list(told.logs or ()),
            health=told.health,
            inspect=dict(told.inspect),
            missing=told.missing,
        ),
    }


def _event(event: Event, spell: Spell) -> Facts:
    labels = {key: spell(value) for key, value in event.actor.attributes.items()}
    named = {
        "host": event.host,
        "type": event.type,
        "action": event.action,
        "detail": event.detail,
        "actor_id": event.actor.id,
        "name": event.actor.name,
        "image": event.actor.image,
        "health": event.health,
    }
    return Facts(
        {key: None if value is None else spell(value) for key, value in named.items()},
        id=event.id,
        engine=event.engine,
        scope=event.scope,
        time=rfc3339(event.time_ns),
        time_ns=event.time_ns,
        labels=labels,
        attributes=labels,
        cause=None if event.cause is None else event.cause.value,
        exit_code=event.exit_code,
        signal=event.signal,
        origin=event.origin.value,
    )


class _Every(dict[str, object]):
    """Has whatever it is asked for: the sample's labels are anybody's."""

    def __missing__(self, key: str) -> str:
        return f"sample {key}"

    def get(self, key: str, default: object = None) -> object:
        return self[key]


def sample() -> Mapping[str, object]:
    """A context of a death of which everything is known: what a template has to be able to use."""
    actor = Actor("f53eb17c442d", "web-1", "shop/web:1", {})
    event = Event(
        id="evt_0123456789abcdef0123456789abcdef",
        engine="local",
        host="node-1",
        type="container",
        action="die",
        detail="sample",
        scope="local",
        time_ns=1_795_416_514_938_518_046,
        actor=actor,
        cause=Cause.CRASHED,
        exit_code=3,
        signal=9,
        health="unhealthy",
    )
    told = Included(("first line", "last line"), "sample", {}, "sample")
    made = notify("sample", event, severity=Severity.CRITICAL)
    found = dict(context(made, "web-1 crashed with exit code 3", told))
    facts = Facts(_event(event, str), labels=_Every(), attributes=_Every())
    included = Facts(found["included"], inspect=_Every())  # type: ignore[call-overload]
    return {**found, "event": facts, "events": [facts], "included": included}
