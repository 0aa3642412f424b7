"""One event and the decisions of the routes, on one line."""

import json

import pytest

from relay.admin.tap import EventsSkipped, RouteDecision, TappedEvent
from relay.cli.event_line import LineStyle, format_json, format_line, format_skipped
from relay.core.event import Actor, Cause, Event, Origin, make_self_event
from relay.incidents.effect import Effect, EffectKind
from relay.routing.router import Verdict
from tests.support.events import make_event
from tests.unit.cli.cli_store import HOSTILE, THEN_NS
from tests.unit.destinations.samples import container_event, with_fields

CRASH = container_event("die", THEN_NS, "c0", {"name": "web"}, exit_code=3, cause=Cause.CRASHED)
SENT = RouteDecision("crashed", Verdict.SENT, ("ops", "audit"))
PLAIN_STYLE = LineStyle()


def details(event: Event) -> str:
    """The part of a line between the time and the routes."""
    return format_line(TappedEvent(event, ()), PLAIN_STYLE)[len("06:48:34Z ") :].rpartition(" →")[0]


def test_an_event_that_is_sent() -> None:
    """Shows the time, the event, its details, and where it goes."""
    assert (
        format_line(TappedEvent(CRASH, (SENT,)), PLAIN_STYLE)
        == "06:48:34Z container die web (crashed, exit code 3) → crashed: ops, audit"
    )


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ((), "→ no route matches"),
        ((RouteDecision("noise", Verdict.DROPPED),), "→ noise drops it"),
        (
            (
                SENT,
                RouteDecision("late", Verdict.ALREADY_SENT),
                RouteDecision("rest", Verdict.DROPPED),
            ),
            "→ crashed: ops, audit; late: already sent; rest drops it",
        ),
    ],
)
def test_decisions(routes: tuple[RouteDecision, ...], words: str) -> None:
    """The decisions are in the order of the routes."""
    assert format_line(TappedEvent(CRASH, routes), PLAIN_STYLE).endswith(words)


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Effect(EffectKind.OPENED, "inc_1", 1), "ops (opens an incident), audit"),
        (Effect(EffectKind.REOPENED, "inc_1", 5), "ops (reopens an incident), audit"),
        (Effect(EffectKind.COUNTED, "inc_1", 7), "ops (counted, 7th), audit"),
        (Effect(EffectKind.COUNTED, "inc_1", 111), "ops (counted, 111th), audit"),
        (Effect(EffectKind.COUNTED, "inc_1", 122), "ops (counted, 122nd), audit"),
        (Effect(EffectKind.GROUPED), "ops (told with its group), audit"),
    ],
)
def test_what_it_did(effect: Effect, words: str) -> None:
    """At a destination that is notified of incidents; the others are sent it."""
    decision = RouteDecision("crashed", Verdict.SENT, ("ops", "audit"), {"ops": effect})
    tapped = TappedEvent(CRASH, (decision,))
    assert format_line(tapped, PLAIN_STYLE).endswith(f"→ crashed: {words}")
    (shown,) = json.loads(format_json(tapped))["routes"]
    assert shown["incidents"]["ops"]["kind"] == effect.kind
    assert shown["incidents"]["ops"].get("incident") == effect.incident
    (plain,) = json.loads(format_json(TappedEvent(CRASH, (SENT,))))["routes"]
    assert "incidents" not in plain


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            with_fields(CRASH, exit_code=137, cause=Cause.OOM, origin=Origin.INFERRED),
            "container die web (oom, exit code 137 (SIGKILL: killed), inferred)",
        ),
        (
            container_event("kill", THEN_NS, "c0", {"name": "web"}, signal=15),
            "container kill web (SIGTERM)",
        ),
        (container_event("kill", THEN_NS, "c0", {}, signal=99), "container kill c0 (signal 99)"),
        (
            container_event("health_status", THEN_NS, "c0", {"name": "db"}, detail="unhealthy"),
            "container health_status db (unhealthy)",
        ),
        (container_event("start", THEN_NS, "f" * 64, {}), f"container start {'f' * 12}"),
        (
            with_fields(
                container_event("import", THEN_NS, "", {"name": "sha256:" + "ab" * 32}),
                type="image",
            ),
            "image import abababababab",
        ),
        (
            make_self_event(
                "engine_lost",
                engine="edge",
                host="edge",
                time_ns=THEN_NS,
                name="edge",
                attributes={"reason": "no route to host"},
            ),
            "relay engine_lost edge (no route to host)",
        ),
    ],
)
def test_details(event: Event, words: str) -> None:
    """Cause, exit code, signal, detail, reason and origin are shown, if there are any."""
    assert details(event) == words


def test_the_date_and_the_engine() -> None:
    """Are shown if the style says so."""
    shown = format_line(TappedEvent(CRASH, ()), LineStyle(show_engine=True, show_date=True))
    assert shown.startswith("2026-11-23 06:48:34Z here container die web ")


def test_the_host_at_a_hub() -> None:
    """Each event has its host; with its engine if that has a name of its own."""
    shown = [
        format_line(
            TappedEvent(with_fields(CRASH, via="fleet", host="web-1", engine=engine), ()),
            LineStyle(),
        )
        for engine in ("local", "podman")
    ]
    assert shown[0].split(" ", 1)[1].startswith("web-1 container die")
    assert shown[1].split(" ", 1)[1].startswith("web-1 (engine “podman”) container die")


def test_colours() -> None:
    """What is sent has the colour of its severity, the rest is dim."""
    shown = format_line(TappedEvent(CRASH, (SENT,)), LineStyle(colour=True))
    assert "\x1b[31m\x1b[1mcontainer die web\x1b[0m" in shown
    quiet = format_line(TappedEvent(CRASH, ()), LineStyle(colour=True))
    assert "\x1b[2m→ no route matches\x1b[0m" in quiet
    assert "\x1b[31m" not in quiet


def test_hostile_texts() -> None:
    """They are escaped, and cut so that the routes stay visible."""
    actor = Actor(HOSTILE, HOSTILE * 50, HOSTILE, {"reason": HOSTILE})
    event = with_fields(
        CRASH, type=HOSTILE, action=HOSTILE, detail=HOSTILE, engine=HOSTILE, actor=actor
    )
    seen = TappedEvent(event, [RouteDecision(HOSTILE, Verdict.SENT, [HOSTILE] * 50)])
    shown = format_line(seen, LineStyle(show_engine=True, show_date=True))
    assert shown.isprintable()
    assert len(shown) < 500
    assert format_json(seen).isprintable()


def test_skipped_events() -> None:
    """Their number is shown in their place, as text and as JSON."""
    assert format_skipped(EventsSkipped(120)) == "… 120 events were not shown"
    assert format_skipped(EventsSkipped(1)) == "… 1 event was not shown"
    assert format_json(EventsSkipped(120)) == '{"lost":120}'


def test_json() -> None:
    """The event as receivers get it, and the decision of each route."""
    found = json.loads(
        format_json(TappedEvent(CRASH, (SENT, RouteDecision("noise", Verdict.DROPPED))))
    )
    assert found["event"]["time"] == "2026-11-23T06:48:34.000000000Z"
    assert found["event"]["cause"] == "crashed"
    assert found["routes"] == [
        {"route": "crashed", "verdict": "sent", "to": ["ops", "audit"]},
        {"route": "noise", "verdict": "dropped", "to": []},
    ]


@pytest.mark.parametrize(
    ("type_", "action", "attributes", "words"),
    [
        (
            *("node", "update", {"state.new": "down", "state.old": "ready"}),
            "node update vm (state ready → down)",
        ),
        (
            *("network", "disconnect", {"container": "095426d58f55afe01307"}),
            "network disconnect vm (container 095426d58f55)",
        ),
        ("volume", "prune", {"reclaimed": "2048"}, "volume prune vm (reclaimed 2.048 kB)"),
    ],
)
def test_says_what_changed(type_: str, action: str, attributes: dict[str, str], words: str) -> None:
    """What the engine says of a change in its attributes is among the details."""
    actor = Actor("a", "vm", None, attributes)
    assert details(make_event(type=type_, action=action, actor=actor)) == words
