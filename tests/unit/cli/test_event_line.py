"""One event and what came of it, on one line."""

import json

import pytest

from relay.admin.tap import Lost, Said, Seen
from relay.cli.event_line import Look, document, line, lost_line
from relay.core.event import Actor, Cause, Event, Origin, happening
from relay.routing.router import Verdict
from tests.unit.cli.cli_store import THEN_NS, WORDS
from tests.unit.destinations.samples import changed, container

CRASH = container("die", THEN_NS, "c0", {"name": "web"}, exit_code=3, cause=Cause.CRASHED)
SENT = Said("crashed", Verdict.SENT, ("ops", "audit"))
PLAIN = Look()


def known(event: Event) -> str:
    """What a line says between the time and the routes."""
    return line(Seen(event, ()), PLAIN)[len("06:48:34Z ") :].partition(" →")[0]


def test_an_event_that_is_sent() -> None:
    """When, what, who, why, and where it goes."""
    assert (
        line(Seen(CRASH, (SENT,)), PLAIN)
        == "06:48:34Z container die web (crashed, exit code 3) → crashed: ops, audit"
    )


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ((), "→ no route takes it"),
        ((Said("noise", Verdict.DROPPED),), "→ noise drops it"),
        (
            (SENT, Said("late", Verdict.ALREADY_SENT), Said("rest", Verdict.DROPPED)),
            "→ crashed: ops, audit; late: to nobody else; rest drops it",
        ),
    ],
)
def test_what_each_route_said(routes: tuple[Said, ...], words: str) -> None:
    """In their order."""
    assert line(Seen(CRASH, routes), PLAIN).endswith(words)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            changed(CRASH, exit_code=137, cause=Cause.OOM, origin=Origin.INFERRED),
            "container die web (oom, exit code 137 (SIGKILL), inferred)",
        ),
        (
            container("kill", THEN_NS, "c0", {"name": "web"}, signal=15),
            "container kill web (SIGTERM)",
        ),
        (container("kill", THEN_NS, "c0", {}, signal=99), "container kill c0 (signal 99)"),
        (
            container("health_status", THEN_NS, "c0", {"name": "db"}, detail="unhealthy"),
            "container health_status db (unhealthy)",
        ),
        (container("start", THEN_NS, "f" * 64, {}), f"container start {'f' * 12}"),
        (
            changed(
                container("import", THEN_NS, "", {"name": "sha256:" + "ab" * 32}), type="image"
            ),
            "image import abababababab",
        ),
        (
            happening(
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
def test_what_is_known_of_an_event(event: Event, words: str) -> None:
    """Whatever there is, in a few words."""
    assert known(event) == words


def test_the_date_and_the_engine() -> None:
    """Where they are wanted."""
    shown = line(Seen(CRASH, ()), Look(engine=True, date=True))
    assert shown.startswith("2026-11-23 06:48:34Z here container die web ")


def test_colours() -> None:
    """Only where somebody looks; what is sent stands out, by how much it matters."""
    shown = line(Seen(CRASH, (SENT,)), Look(colour=True))
    assert "\x1b[31m\x1b[1mcontainer die web\x1b[0m" in shown
    quiet = line(Seen(CRASH, ()), Look(colour=True))
    assert "\x1b[2m→ no route takes it\x1b[0m" in quiet
    assert "\x1b[31m" not in quiet


def test_hostile_words() -> None:
    """None of them is obeyed, and none pushes the routes out of sight."""
    actor = Actor(WORDS, WORDS * 50, WORDS, {"reason": WORDS})
    event = changed(CRASH, type=WORDS, action=WORDS, detail=WORDS, engine=WORDS, actor=actor)
    seen = Seen(event, [Said(WORDS, Verdict.SENT, [WORDS] * 50)])
    shown = line(seen, Look(engine=True, date=True))
    assert shown.isprintable()
    assert len(shown) < 500
    assert document(seen).isprintable()


def test_what_was_lost() -> None:
    """It is told in place of the events, in both forms."""
    assert lost_line(Lost(120)) == "… 120 events were not shown"
    assert lost_line(Lost(1)) == "… 1 event was not shown"
    assert document(Lost(120)) == '{"lost":120}'


def test_json() -> None:
    """The event as receivers get it, and what each route said."""
    found = json.loads(document(Seen(CRASH, (SENT, Said("noise", Verdict.DROPPED)))))
    assert found["event"]["time"] == "2026-11-23T06:48:34.000000000Z"
    assert found["event"]["cause"] == "crashed"
    assert found["routes"] == [
        {"route": "crashed", "verdict": "sent", "to": ["ops", "audit"]},
        {"route": "noise", "verdict": "dropped", "to": []},
    ]
