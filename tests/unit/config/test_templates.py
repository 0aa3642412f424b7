"""Templates in a configuration are checked when it is read."""

from pathlib import Path

import pytest

from relay.config.types import MAX_BODY_TEXTS
from relay.core.errors import ConfigError
from relay.destinations.catalog import parse_config

HTTP = "destinations: {{to: {{type: http, url: https://x, {}}}}}\nroutes: [{{name: all, to: to}}]\n"
SLACK = (
    "destinations: {{to: {{type: slack, url: https://x, {}}}}}\nroutes: [{{name: all, to: to}}]\n"
)
ROUTE = "destinations: {{to: {{type: console}}}}\nroutes: [{{name: all, to: to, {}}}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", environ={"HUSH": "hush-4711"}, folder=Path())
    return [str(problem) for problem in caught.value.problems]


def check_accepted(text: str) -> None:
    parse_config(text, file="f", environ={"HUSH": "hush-4711"}, folder=Path())


SHOWN = [
    (SLACK.format("title: '{{ event.nmae }}'"), "destinations.to.title"),
    (SLACK.format("text: '{{ event.nmae }}'"), "destinations.to.text"),
    (ROUTE.format("title: '{{ event.nmae }}'"), "routes[0].title"),
    (ROUTE.format("text: '{{ event.nmae }}'"), "routes[0].text"),
    (SLACK.format("link: 'https://x/{{ event.nmae }}'"), "destinations.to.link"),
    (ROUTE.format("link: 'https://x/{{ event.nmae }}'"), "routes[0].link"),
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


@pytest.mark.parametrize(("text", "path"), SHOWN)
def test_mistyped_name(text: str, path: str) -> None:
    """A mistyped name is reported at its position, with a suggestion."""
    (problem,) = problems(text)
    assert problem.endswith(
        f": {path}: is a template that fails: it uses an unknown name: "
        "there is no 'nmae' (did you mean 'name'?)"
    )


@pytest.mark.parametrize(("text", "path"), HIDDEN)
def test_mistyped_name_beside_a_secret(text: str, path: str) -> None:
    """For a header, a query or a body, only the kind of the error is shown."""
    (problem,) = problems(text)
    assert problem.endswith(f": {path}: is a template that fails: it uses an unknown name")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ evnt }}", "it uses an unknown name: there is no 'evnt'"),
        ("{{ event.__class__ }}", "it uses an unknown name: there is no '__class__'"),
        ("{{ event.name", "it is not a valid template: line 1: "),
        ("{{ {} }}", "it is not a valid template: line 1: it holds a mapping"),
        ("{{ 'x' * 99999 }}", "it exceeds a limit: it creates or writes too many"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "it exceeds a limit: it is nested"),
        ("{{ event.labels }}", "it uses a list or a mapping as text: it writes a value"),
    ],
)
def test_template_errors(source: str, message: str) -> None:
    """The message has the kind of the error and its details."""
    (problem,) = problems(SLACK.format(f'text: "{source}"'))
    assert f": destinations.to.text: is a template that fails: {message}" in problem


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
def test_errors_of_the_sample_values_are_ignored(source: str) -> None:
    """A template that fails only for the values of the sample is accepted."""
    check_accepted(SLACK.format(f'text: "{source}"'))
    check_accepted(HTTP.format(f'headers: {{X: "{source}"}}, query: {{q: "{source}"}}'))
    check_accepted(HTTP.format(f'format: template, body: {{a: "{source}"}}'))


def test_every_template_error_at_once() -> None:
    """Each text of a body is checked on its own."""
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
def test_secret_in_a_template_is_not_shown(text: str) -> None:
    """An error shows no details of a template that may contain a secret."""
    (problem,) = problems(text)
    assert "is a template that fails: it " in problem
    assert "hush" not in problem


@pytest.mark.parametrize("size", [MAX_BODY_TEXTS, MAX_BODY_TEXTS + 1])
def test_number_of_texts_in_a_body_is_limited(size: int) -> None:
    """A body has a limited number of texts; other values in it do not count."""
    text = HTTP.format(f"format: template, body: {{a: [{'x, ' * (size - 1)}1, 2], b: {{c: y}}}}")
    if size <= MAX_BODY_TEXTS:
        check_accepted(text)
    else:
        (problem,) = problems(text)
        assert problem.endswith(f"destinations.to.body: holds more than {MAX_BODY_TEXTS} texts")


def test_label_of_any_name() -> None:
    """A template may use any label: the sample has all of them."""
    parse_config(
        SLACK.format("title: '{{ event.labels[\"com.example.owner\"] }} {{ event.labels.tier }}'"),
        file="f",
        environ={},
        folder=Path(),
    )


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("{{ event.labels.runbook }}", "scheme and host"),
        ("https://{{ event.host }}/x", "scheme and host"),
        ("https://x{{ event.name }}", "scheme and host"),
        ("wiki.example.com/x", "scheme and host"),
        ("https://x/../{{ event.name }}", "'.' or '..'"),
        ("https://x/{{ event.name | urlencode }}", "uses 'urlencode'"),
        ("https://x/" + "y" * 1_000, "is longer than 1,000 characters"),
    ],
)
def test_a_link_that_leads_nowhere(link: str, wrong: str) -> None:
    """It would never be in a message, so the configuration says it at once, and where."""
    for text, path in ((SLACK, "destinations.to.link"), (ROUTE, "routes[0].link")):
        (problem,) = problems(text.format(f'link: "{link}"'))
        assert f": {path}: " in problem
        assert wrong in problem


@pytest.mark.parametrize(
    "link",
    [
        "https://x/{{ event.name }}",
        "{% if incident %}https://x/{{ incident.id }}{% else %}http://y:8080{% endif %}",
        "{% if not incident %}https://x{% endif %}",
        "",
        "https://x/{{ event.labels.tier.split('-')[3] }}",
    ],
)
def test_a_link_that_leads_somewhere(link: str) -> None:
    """A template may decide that there is none, and may work for other values than the sample's."""
    check_accepted(SLACK.format(f'link: "{link}"'))
    check_accepted(ROUTE.format(f'link: "{link}"'))
