"""Templates in a configuration: tried when it is read."""

from pathlib import Path

import pytest

from relay.config import parse
from relay.config.types import MAX_BODY_TEXTS
from relay.core.errors import ConfigError

HTTP = "destinations: {{to: {{type: http, url: https://x, {}}}}}\nroutes: [{{name: all, to: to}}]\n"
SLACK = (
    "destinations: {{to: {{type: slack, url: https://x, {}}}}}\nroutes: [{{name: all, to: to}}]\n"
)
ROUTE = "destinations: {{to: {{type: console}}}}\nroutes: [{{name: all, to: to, {}}}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="f", environ={"HUSH": "hush-4711"}, folder=Path())
    return [str(problem) for problem in caught.value.problems]


def check_accepted(text: str) -> None:
    parse(text, file="f", environ={"HUSH": "hush-4711"}, folder=Path())


SHOWN = [
    (SLACK.format("title: '{{ event.nmae }}'"), "destinations.to.title"),
    (SLACK.format("text: '{{ event.nmae }}'"), "destinations.to.text"),
    (ROUTE.format("title: '{{ event.nmae }}'"), "routes[0].title"),
    (ROUTE.format("text: '{{ event.nmae }}'"), "routes[0].text"),
]
HIDDEN = [
    (HTTP.format("headers: {X: '{{ event.nmae }}'}"), "destinations.to.headers.X"),
    (HTTP.format("query: {q: '{{ event.nmae }}'}"), "destinations.to.query.q"),
    (HTTP.format("format: template, body_text: '{{ event.nmae }}'"), "destinations.to.body_text"),
    (
        HTTP.format("format: template, body: {a: [x, {b: '{{ event.nmae }}'}]}"),
        "destinations.to.body.a[1].b",
    ),
]


@pytest.mark.parametrize(("text", "place"), SHOWN)
def test_a_mistyped_name_is_found_where_it_stands(text: str, place: str) -> None:
    """Before anything runs, with what was probably meant."""
    (problem,) = problems(text)
    assert problem.endswith(
        f": {place}: is a template that fails: it uses an unknown name: "
        "there is no 'nmae' (did you mean 'name'?)"
    )


@pytest.mark.parametrize(("text", "place"), HIDDEN)
def test_where_a_secret_may_stand_none_of_it_is_shown(text: str, place: str) -> None:
    """Nothing of a header, a query or a body but what kind of fault it has."""
    (problem,) = problems(text)
    assert problem.endswith(f": {place}: is a template that fails: it uses an unknown name")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{{ evnt }}", "it uses an unknown name: there is no 'evnt'"),
        ("{{ event.__class__ }}", "it uses an unknown name: there is no '__class__'"),
        ("{{ event.name", "it is not a valid template: line 1: "),
        ("{{ {} }}", "it is not a valid template: line 1: it holds a mapping"),
        ("{{ 'x' * 99999 }}", "it exceeds a limit: it creates or writes too many"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "it exceeds a limit: it nests"),
        ("{{ event.labels }}", "it uses a list or a mapping as text: it writes a value"),
    ],
)
def test_says_what_is_wrong_with_a_template(source: str, fault: str) -> None:
    """Of which kind it is, and its words where they may be shown."""
    (problem,) = problems(SLACK.format(f'text: "{source}"'))
    assert f": destinations.to.text: is a template that fails: {fault}" in problem


@pytest.mark.parametrize(
    "source",
    [
        "{{ event.exit_code // (event.signal - 9) }}",
        "{{ event.detail + 1 }}",
        "{{ included.inspect['State.Pid'] + 1 }}",
        "{{ event.labels.since | int + event.labels.tier }}",
        "{{ [][0] }}",
    ],
)
def test_what_fails_for_the_samples_values_may_be_right_for_others(source: str) -> None:
    """It is nobody's mistake."""
    check_accepted(SLACK.format(f'text: "{source}"'))
    check_accepted(HTTP.format(f'headers: {{X: "{source}"}}, query: {{q: "{source}"}}'))
    check_accepted(HTTP.format(f'format: template, body: {{a: "{source}"}}'))


def test_all_that_fail_are_told_at_once() -> None:
    """Each leaf of a body for itself."""
    found = problems(HTTP.format("format: template, body: {a: '{{ x }}', b: '{{ 1 +', c: fine}"))
    assert len(found) == 2


@pytest.mark.parametrize(
    "text",
    [
        HTTP.format("headers: {X: '${HUSH} {{ nothing }}'}"),
        HTTP.format("query: {q: '${HUSH} {{ nothing }}'}"),
        HTTP.format("format: template, body: ['{{ \"${HUSH}\" ~ nothing }}']"),
        SLACK.format("title: '{{ ${HUSH} }}'"),
        SLACK.format("text: '{{ event[\"${HUSH}\"] }}'"),
        ROUTE.format("title: '{{ \"${HUSH}\" | nothing }}'"),
    ],
)
def test_a_secret_in_a_template_is_not_told(text: str) -> None:
    """What stands around an expression may be one; what came from the environment, too."""
    (problem,) = problems(text)
    assert "is a template that fails: it " in problem
    assert "hush" not in problem


@pytest.mark.parametrize("size", [MAX_BODY_TEXTS, MAX_BODY_TEXTS + 1])
def test_a_body_has_so_many_texts_and_no_more(size: int) -> None:
    """All of them are rendered for every notification; what is no text costs nothing."""
    text = HTTP.format(f"format: template, body: {{a: [{'x, ' * (size - 1)}1, 2], b: {{c: y}}}}")
    if size <= MAX_BODY_TEXTS:
        check_accepted(text)
    else:
        (problem,) = problems(text)
        assert problem.endswith(f"destinations.to.body: holds more than {MAX_BODY_TEXTS} texts")


def test_a_label_of_any_name_is_taken() -> None:
    """The sample has them all."""
    parse(
        SLACK.format("title: '{{ event.labels[\"com.example.owner\"] }} {{ event.labels.tier }}'"),
        file="f",
        environ={},
        folder=Path(),
    )
