"""Templates in a configuration: tried when it is read."""

from pathlib import Path

import pytest

from relay.config import parse
from relay.errors import ConfigError

HTTP = "destinations: {{to: {{type: http, url: https://x, {}}}}}\nroutes: [{{name: all, to: to}}]\n"
SLACK = (
    "destinations: {{to: {{type: slack, url: https://x, {}}}}}\nroutes: [{{name: all, to: to}}]\n"
)
ROUTE = "destinations: {{to: {{type: console}}}}\nroutes: [{{name: all, to: to, {}}}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="f", environ={"HUSH": "hush-4711"}, folder=Path())
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (SLACK.format("title: '{{ event.nmae }}'"), "destinations.to.title"),
        (SLACK.format("text: '{{ event.nmae }}'"), "destinations.to.text"),
        (ROUTE.format("title: '{{ event.nmae }}'"), "routes[0].title"),
        (HTTP.format("headers: {X: '{{ event.nmae }}'}"), "destinations.to.headers.X"),
        (HTTP.format("query: {q: '{{ event.nmae }}'}"), "destinations.to.query.q"),
        (
            HTTP.format("format: template, body_text: '{{ event.nmae }}'"),
            "destinations.to.body_text",
        ),
        (
            HTTP.format("format: template, body: {a: [x, {b: '{{ event.nmae }}'}]}"),
            "destinations.to.body.a[1].b",
        ),
    ],
)
def test_a_mistyped_name_is_found_where_it_stands(text: str, place: str) -> None:
    """Before anything runs, with what was probably meant."""
    (problem,) = problems(text)
    assert problem.endswith(
        f": {place}: is a template that fails: there is no 'nmae' (did you mean 'name'?)"
    )


def test_all_that_fail_are_told_at_once() -> None:
    """Each leaf of a body for itself."""
    found = problems(HTTP.format("format: template, body: {a: '{{ x }}', b: '{{ 1 +', c: fine}"))
    assert len(found) == 2


def test_a_secret_in_a_template_is_not_told() -> None:
    """What stands around an expression may be one."""
    (problem,) = problems(HTTP.format("headers: {X: '${HUSH} {{ nothing }}'}"))
    assert "hush" not in problem


def test_a_label_of_any_name_is_taken() -> None:
    """The sample has them all."""
    parse(
        SLACK.format("title: '{{ event.labels[\"com.example.owner\"] }} {{ event.labels.tier }}'"),
        file="f",
        environ={},
        folder=Path(),
    )
