"""Routing an event to destinations."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Route
from relay.config.match_parser import parse_match
from relay.core.event import Event, make_self_event
from relay.routing.router import Router, RouteResult, Verdict
from tests.support.events import make_event
from tests.unit.routing.reference_matcher import events, matches, reference_matches

ALL = parse_match({})
RELAY = parse_match({"type": "relay"})
NONE = parse_match({"type": "network"})
DEATHS = parse_match({"action": "die"})
DEATH = make_event()
GAP = make_self_event("gap", engine="here", host="node-1", time_ns=1)


def explain(*routes: Route) -> list[tuple[Verdict, tuple[str, ...]]]:
    """Return the verdict and the destinations of each route for a death."""
    return [(result.verdict, result.destinations) for result in Router(routes).explain(DEATH)]


def test_every_route_that_matches_fires() -> None:
    """Every route that matches fires, not only the first."""
    assert explain(Route(name="a", to=("x",)), Route(name="b", to=("y", "z"))) == [
        (Verdict.SENT, ("x",)),
        (Verdict.SENT, ("y", "z")),
    ]


def test_each_destination_gets_an_event_once() -> None:
    """A destination gets an event once, by the first route that sends it there."""
    assert explain(
        Route(name="a", to=("x",)), Route(name="b", to=("x", "y")), Route(name="c", to=("x",))
    ) == [(Verdict.SENT, ("x",)), (Verdict.SENT, ("y",)), (Verdict.ALREADY_SENT, ())]


def test_stop_sends_and_skips_later_routes() -> None:
    """Later routes are not reached."""
    assert explain(Route(name="a", stop=True, to=("x",)), Route(name="b", to=("y",))) == [
        (Verdict.SENT, ("x",)),
        (Verdict.NOT_REACHED, ()),
    ]


def test_drop_sends_nothing_and_skips_later_routes() -> None:
    """Earlier routes have already fired."""
    assert explain(
        Route(name="a", to=("x",)), Route(name="b", drop=True), Route(name="c", to=("y",))
    ) == [(Verdict.SENT, ("x",)), (Verdict.DROPPED, ()), (Verdict.NOT_REACHED, ())]


def test_a_route_that_does_not_match_skips_nothing() -> None:
    """Neither its stop nor its drop counts, and the result says which condition failed."""
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


def test_routing_returns_what_is_sent() -> None:
    """The same results without those that send nothing."""
    routes = (Route(name="a", match=NONE, to=("x",)), Route(name="b", to=("x",)))
    (result,) = Router(routes).route(DEATH)
    assert (result.route.name, result.destinations) == ("b", ("x",))


def test_routing_counts_matches() -> None:
    """Every route that matches is counted, also one that drops the event or sends it nowhere."""
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


def test_a_destination_gets_no_event_about_itself() -> None:
    """No route sends it there, and other destinations still get it."""
    routes = (Route(name="a", match=RELAY, to=("x",)), Route(name="b", match=RELAY, to=("x", "y")))
    facts = {"destination": "x"}
    event = make_self_event(
        "dead_letter", engine="relay", host="h", time_ns=1, name="x", attributes=facts
    )
    (result,) = Router(routes).route(event)
    assert (result.route.name, result.destinations) == ("b", ("y",))


def test_an_event_about_a_destination_of_another_host() -> None:
    """Its name says nothing about this relay's own destination of that name."""
    facts = {"destination": "x"}
    own = make_self_event(
        "destination_failing", engine="relay", host="web-1", time_ns=1, attributes=facts
    )
    router = Router((Route(name="own", match=RELAY, to=("x",)),))
    assert router.route(own) == []
    (result,) = router.route(msgspec.structs.replace(own, via="fleet"))
    assert result.destinations == ("x",)


def test_the_observer_gets_every_event() -> None:
    """The observer gets every event once, with the result of each route that matches."""
    observed: list[tuple[Event, list[Verdict]]] = []
    routes = (
        Route(name="a", match=NONE, to=("x",)),
        Route(name="b", match=DEATHS, to=("x",)),
        Route(name="c", match=DEATHS, stop=True, to=("x",)),
        Route(name="d", to=("y",)),
    )
    router = Router(
        routes, lambda event, results: observed.append((event, [it.verdict for it in results]))
    )
    router.route(DEATH)
    router.route(GAP)
    assert observed == [(DEATH, [Verdict.SENT, Verdict.ALREADY_SENT]), (GAP, [])]


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
def test_every_route_has_a_result_and_no_destination_gets_an_event_twice(
    routes: list[Route],
) -> None:
    """For any routes, nothing is sent twice, nor after a stop or a drop."""
    results = list(Router(routes).explain(DEATH))
    assert [result.route for result in results] == routes
    sent = [name for result in results for name in result.destinations]
    assert len(sent) == len(set(sent))
    ends = [
        index
        for index, route in enumerate(routes)
        if route.match == ALL and (route.stop or route.drop)
    ]
    after = results[ends[0] + 1 :] if ends else []
    assert all(result.verdict is Verdict.NOT_REACHED for result in after)
    assert Verdict.NOT_REACHED not in [
        result.verdict for result in results[: len(results) - len(after)]
    ]


def test_replaced_routes_apply_at_once() -> None:
    """Replaced routes apply to the next event of everything that uses the router."""
    router = Router([Route(name="a", to=("x",))])
    router.replace_routes(Router([Route(name="b", to=("y", "z"))]))
    assert [(result.route.name, result.destinations) for result in router.explain(DEATH)] == [
        ("b", ("y", "z"))
    ]


# A second, deliberately simple implementation of routing, without an index.


def reference_explain(routes: list[Route], event: Event) -> list[tuple[Verdict, tuple[str, ...]]]:
    """Return the verdict and the destinations of each route, by the simple implementation."""
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
            new = tuple(name for name in route.to if name not in (*served, about))
            served += new
            found.append((Verdict.SENT if new else Verdict.ALREADY_SENT, new))
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
def test_the_router_agrees_with_the_reference(routes: list[Route], event: Event) -> None:
    """The explained, sent, counted and observed results are those of the simple implementation."""
    observed: list[list[RouteResult]] = []
    router = Router(routes, lambda _, results: observed.append([*results]))
    expected = reference_explain(routes, event)
    explained = router.explain(event)
    assert [(result.verdict, result.destinations) for result in explained] == expected
    assert [result.route for result in explained] == routes
    for result in explained:
        assert (result.failed_condition is not None) is (result.verdict is Verdict.NO_MATCH)
    counted: Counter[str] = Counter()
    assert router.route(event, counted) == [it for it in explained if it.verdict is Verdict.SENT]
    matching = [result for result in explained if result.is_match]
    assert observed == [matching]
    assert counted == Counter(result.route.name for result in matching)
