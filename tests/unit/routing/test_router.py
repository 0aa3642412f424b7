"""The walk of an event along the routes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.config import Route
from relay.config.match_parser import parse_match
from relay.core.event import Actor, Event, make_self_event
from relay.routing.router import Router, RouteResult, Verdict
from tests.unit.routing.reference_matcher import events, matches, reference_matches

ALL = parse_match({})
OWN = parse_match({"type": "relay"})
NONE = parse_match({"type": "network"})
DEATHS = parse_match({"action": "die"})
DEATH = Event(
    id="evt_1",
    engine="here",
    host="node-1",
    type="container",
    action="die",
    detail=None,
    scope="local",
    time_ns=1,
    actor=Actor("c0ffee", "web-1", "bb:1", {}),
)
GAP = make_self_event("gap", engine="here", host="node-1", time_ns=1)


def explain(*routes: Route) -> list[tuple[Verdict, tuple[str, ...]]]:
    return [(step.verdict, step.destinations) for step in Router(routes).explain(DEATH)]


def test_every_route_that_matches_fires() -> None:
    """Not only the first."""
    assert explain(Route(name="a", to=("x",)), Route(name="b", to=("y", "z"))) == [
        (Verdict.SENT, ("x",)),
        (Verdict.SENT, ("y", "z")),
    ]


def test_one_destination_gets_it_once() -> None:
    """By the first route that sends it there."""
    assert explain(
        Route(name="a", to=("x",)), Route(name="b", to=("x", "y")), Route(name="c", to=("x",))
    ) == [(Verdict.SENT, ("x",)), (Verdict.SENT, ("y",)), (Verdict.ALREADY_SENT, ())]


def test_stop_sends_and_ends_the_walk() -> None:
    """What stands below is not reached."""
    assert explain(Route(name="a", stop=True, to=("x",)), Route(name="b", to=("y",))) == [
        (Verdict.SENT, ("x",)),
        (Verdict.NOT_REACHED, ()),
    ]


def test_drop_ends_the_walk_and_sends_nothing() -> None:
    """What stood above has fired."""
    assert explain(
        Route(name="a", to=("x",)), Route(name="b", drop=True), Route(name="c", to=("y",))
    ) == [(Verdict.SENT, ("x",)), (Verdict.DROPPED, ()), (Verdict.NOT_REACHED, ())]


def test_a_route_that_does_not_match_ends_nothing() -> None:
    """Neither its stop nor its drop counts, and it says what failed."""
    routes = (
        Route(name="a", match=NONE, stop=True, to=("x",)),
        Route(name="b", match=NONE, drop=True),
        Route(name="c", to=("x",)),
    )
    assert [verdict for verdict, _ in explain(*routes)] == [
        Verdict.NO_MATCH,
        Verdict.NO_MATCH,
        Verdict.SENT,
    ]
    failed = Router(routes).explain(DEATH)[0].failed_condition
    assert failed is not None
    assert failed.path == "type"


def test_routing_gives_what_is_sent() -> None:
    """The same steps without those that send nothing."""
    routes = (Route(name="a", match=NONE, to=("x",)), Route(name="b", to=("x",)))
    (step,) = Router(routes).route(DEATH)
    assert (step.route.name, step.destinations) == ("b", ("x",))


def test_routing_counts_what_matches() -> None:
    """Those routes too that come too late for their destination, or drop it; and no other."""
    routes = (
        Route(name="a", match=NONE, to=("x",)),
        Route(name="b", to=("x",)),
        Route(name="late", to=("x",)),
        Route(name="drops", drop=True),
        Route(name="unreached", to=("y",)),
    )
    counted: Counter[str] = Counter({"b": 4})
    Router(routes).route(DEATH, counted)
    assert counted == {"b": 5, "late": 1, "drops": 1}


def test_nobody_is_told_of_himself() -> None:
    """What an event is about gets it by no route, and keeps no other destination from it."""
    routes = (Route(name="a", match=OWN, to=("x",)), Route(name="b", match=OWN, to=("x", "y")))
    facts = {"destination": "x"}
    event = make_self_event(
        "dead_letter", engine="relay", host="h", time_ns=1, name="x", attributes=facts
    )
    (step,) = Router(routes).route(event)
    assert (step.route.name, step.destinations) == ("b", ("y",))


def test_a_witness_is_told_of_every_event() -> None:
    """Once, with what each route said that matches; those too that no route takes."""
    told: list[tuple[Event, list[Verdict]]] = []
    routes = (
        Route(name="a", match=NONE, to=("x",)),
        Route(name="b", match=DEATHS, to=("x",)),
        Route(name="c", match=DEATHS, stop=True, to=("x",)),
        Route(name="d", to=("y",)),
    )
    router = Router(routes, lambda event, steps: told.append((event, [s.verdict for s in steps])))
    router.route(DEATH)
    router.route(GAP)
    assert told == [(DEATH, [Verdict.SENT, Verdict.ALREADY_SENT]), (GAP, [])]


_names = st.lists(st.sampled_from("xyz"), min_size=1, max_size=3, unique=True).map(tuple)
_routes = st.lists(
    st.one_of(
        st.builds(
            Route,
            name=st.just("sends"),
            match=st.sampled_from((ALL, NONE)),
            stop=st.booleans(),
            to=_names,
        ),
        st.builds(
            Route, name=st.just("drops"), match=st.sampled_from((ALL, NONE)), drop=st.just(True)
        ),
    ),
    max_size=6,
)


@given(_routes)
def test_every_route_says_something_and_no_destination_gets_it_twice(routes: list[Route]) -> None:
    """Whatever the routes: a step each, nothing sent after the end, each destination once."""
    steps = list(Router(routes).explain(DEATH))
    assert [step.route for step in steps] == routes
    sent = [name for step in steps for name in step.destinations]
    assert len(sent) == len(set(sent))
    ends = [
        index
        for index, route in enumerate(routes)
        if route.match == ALL and (route.stop or route.drop)
    ]
    after = steps[ends[0] + 1 :] if ends else []
    assert all(step.verdict is Verdict.NOT_REACHED for step in after)
    assert Verdict.NOT_REACHED not in [step.verdict for step in steps[: len(steps) - len(after)]]


def test_it_goes_by_the_routes_that_it_adopts() -> None:
    """Whoever has it need not be told."""
    router = Router([Route(name="a", to=("x",))])
    router.replace_routes(Router([Route(name="b", to=("y", "z"))]))
    assert [(step.route.name, step.destinations) for step in router.explain(DEATH)] == [
        ("b", ("y", "z"))
    ]


# What becomes of an event, said a second time, without an index.


def reference_explain(routes: list[Route], event: Event) -> list[tuple[Verdict, tuple[str, ...]]]:
    """What each route says to an event, and where it sends it."""
    about = event.actor.attributes.get("destination") if event.type == "relay" else None
    found: list[tuple[Verdict, tuple[str, ...]]] = []
    served: list[str] = []
    ended = False
    for route in routes:
        if ended:
            found.append((Verdict.NOT_REACHED, ()))
        elif not reference_matches(route.match, event):
            found.append((Verdict.NO_MATCH, ()))
        elif route.drop:
            ended = True
            found.append((Verdict.DROPPED, ()))
        else:
            ended = route.stop
            fresh = tuple(name for name in route.to if name not in (*served, about))
            served += fresh
            found.append((Verdict.SENT if fresh else Verdict.ALREADY_SENT, fresh))
    return found


_any_route = st.one_of(
    st.builds(Route, name=st.just("r"), match=matches, stop=st.booleans(), to=_names),
    st.builds(Route, name=st.just("r"), match=matches, drop=st.just(True)),
)
_any_routes = st.lists(_any_route, max_size=8).map(
    lambda routes: [
        route.model_copy(update={"name": f"r{number}"}) for number, route in enumerate(routes)
    ]
)
_about_one = st.sampled_from("xyz").map(
    lambda name: make_self_event(
        "dead_letter", engine="here", host="h", time_ns=1, attributes={"destination": name}
    )
)


@given(_any_routes, events | _about_one)
def test_it_decides_as_one_that_tries_every_route(routes: list[Route], event: Event) -> None:
    """What is walked, sent, counted and witnessed is what the plainest reading says."""
    told: list[list[RouteResult]] = []
    router = Router(routes, lambda _, steps: told.append([*steps]))
    meant = reference_explain(routes, event)
    walked = router.explain(event)
    assert [(step.verdict, step.destinations) for step in walked] == meant
    assert [step.route for step in walked] == routes
    for step in walked:
        assert (step.failed_condition is not None) is (step.verdict is Verdict.NO_MATCH)
    counted: Counter[str] = Counter()
    assert router.route(event, counted) == [it for it in walked if it.verdict is Verdict.SENT]
    matching = [step for step in walked if step.is_match]
    assert told == [matching]
    assert counted == Counter(step.route.name for step in matching)
