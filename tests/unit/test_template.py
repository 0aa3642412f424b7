"""Templates: what they can say, and what neither they nor their values can do."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.context import sample
from relay.template import (
    SOURCE_MAX,
    WRITTEN_MAX,
    Facts,
    Template,
    TemplateError,
    is_template,
)

TWICE = "{{% for i in range(40) %}}{{% set n.x = {} %}}{{% endfor %}}"
VALUES = {
    "event": Facts(name="web-1", exit_code=3, detail=None, labels={"tier": "web", "a.b": "c"}),
    "events": [Facts(name="web-1"), Facts(name="web-2")],
}


def rendered(source: str, values: object = None) -> str:
    return Template(source).render({**VALUES, "value": values})


def failure(source: str, values: object = None) -> str:
    with pytest.raises(TemplateError) as caught:
        rendered(source, values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("{{ event.name }} died with {{ event.exit_code }}", "web-1 died with 3"),
        ("{{ event.labels.tier }} {{ event.labels['a.b'] }}", "web c"),
        ("{{ event.labels.get('none', '-') }}", "-"),
        ("{{ event.labels.none | default('-') }}", "-"),
        ("{{ event.detail }}|{{ event.detail or 'nothing' }}", "|nothing"),
        ("{% if event.detail is none %}no{% endif %}", "no"),
        (
            "{% for one in events %}{{ loop.index }} {{ one.name }}\n{% endfor %}",
            "1 web-1\n2 web-2\n",
        ),
        ("{{ event.name | upper | replace('-', '_') }}", "WEB_1"),
        ("{{ events | map(attribute='name') | join(', ') }}", "web-1, web-2"),
        (
            "{{ 'a' ~ 1 ~ none }}{{ 2 + 3 * 4 }}{{ 'ab' * 2 }}{{ 7 % 3 }}{{ 2 ** 10 }}",
            "a114abab11024",
        ),
        ("{{ event.labels | tojson }}", '{"tier":"web","a.b":"c"}'),
        ("{{ 3.14159 | round(2) }}", "3.14"),
        ("{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}", "2"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}", "<a>"),
        ("{% raw %}{{ raw }}{% endraw %}{# said to nobody #}", "{{ raw }}"),
        ("ends with a line\n", "ends with a line\n"),
        ("{{ event.name.removeprefix('web-').strip() }}", "1"),
    ],
)
def test_says(source: str, text: str) -> None:
    """What people write."""
    assert rendered(source) == text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ evnt.name }}", "there is no 'evnt' (did you mean 'event'?)"),
        ("{{ event.nmae }}", "there is no 'nmae' (did you mean 'name'?)"),
        ("{{ event.labels.tire }}", "there is no 'tire'"),
        ("{{ event.name", "line 1: unexpected end of template, expected 'end of print statement'."),
        ("{% for x in events %}", "line 1: Unexpected end of template."),
        ("a\n{% fi %}", "line 2: Encountered unknown tag 'fi'."),
        ("{{ event.name | shout }}", "line 1: No filter named 'shout'."),
        ("{{ 1 / 0 }}", "fails (ZeroDivisionError)"),
        ("{{ event.name + 1 }}", 'can only concatenate str (not "int") to str'),
    ],
)
def test_says_what_is_wrong(source: str, words: str) -> None:
    """In a line, without what the values hold."""
    assert failure(source).startswith(words)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * 'x' }}",
        "{{ [0] * 10**9 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ 'x' | center(10**9) }}",
        "{{ 'x' | indent(10**9) }}",
        "{{ 1.5 | round(10**9, 'ceil') }}",
        "{{ event | tojson(indent=10**9) }}",
        "{{ lipsum(10**6) }}",
        "{{ range(10**6) | list }}",
        "{{ ('x' * 60000) | replace('x', 'y' * 60000) }}",
        "{{ ('x' * 60000) | replace('', 'y' * 60000) }}",
        "{{ (['x' * 60000] * 4000) | join }}",
        "{% set n = namespace(x='ab') %}" + TWICE.format("n.x ~ n.x"),
        "{% set n = namespace(x='ab') %}" + TWICE.format("n.x + n.x"),
        "{% set n = namespace(x=[1]) %}" + TWICE.format("n.x + n.x"),
        "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set n = namespace(x='ab') %}"
        + TWICE.format("m(n.x)"),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}"
        "{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(999) %}{% for b in range(999) %}x{% endfor %}{% endfor %}",
        "{% set x %}{% for a in range(999) %}" + "y" * 9999 + "{% endfor %}{% endset %}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 1" + "|abs" * 3000 + " }}",
        "{% if 1 %}" * 500 + "{% endif %}" * 500,
        "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
        "x" * (SOURCE_MAX + 1),
    ],
)
def test_no_template_takes_for_ever_or_grows_without_bounds(source: str) -> None:
    """It fails, in far less than the time that a delivery takes."""
    begun_s = time.process_time()
    failure(source)
    assert time.process_time() - begun_s < 2


@pytest.mark.parametrize(
    "source",
    [
        "{{ event.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ event.pop('name') }}",
        "{{ event.update(name='x') }}",
        "{{ events.append(1) }}",
        "{{ events.clear() }}",
        "{{ event['__class__'] }}",
        "{{ self._TemplateReference__context }}",
        "{{ joiner }}",
        "{{ event | attr('__class__') }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
    ],
)
def test_a_template_gets_at_nothing_else(source: str) -> None:
    """Nothing of Python, no file, and no value can be changed."""
    failure(source)


def test_a_render_starts_with_a_full_measure() -> None:
    """What one used is not missing in the next."""
    template = Template("{% for a in range(900) %}{{ a }}{% endfor %}")
    assert len({template.render({}) for _ in range(100)}) == 1


@pytest.mark.parametrize("size", [WRITTEN_MAX, WRITTEN_MAX + 1])
def test_writes_so_much_and_no_more(size: int) -> None:
    """Of what it is filled with, too."""
    template = Template("{{ value }}")
    if size <= WRITTEN_MAX:
        assert len(template.render({"value": "x" * size})) == size
    else:
        with pytest.raises(TemplateError, match="writes more than"):
            template.render({"value": "x" * size})


def test_a_huge_value_costs_nothing_where_it_is_not_written() -> None:
    """A label of megabytes holds nobody up."""
    labels = {"short": "x", "long": "x" * 4_000_000}
    assert rendered("{{ value.short }} of {{ value | length }}", labels) == "x of 2"


@given(st.text() | st.sampled_from(["{{ 7*7 }}", "{% raw %}", "${X}", "{{ event.name }}"]))
def test_a_value_is_never_a_template(value: str) -> None:
    """It comes out as it went in."""
    assert rendered("<{{ value }}>", value) == f"<{value}>"


@given(st.text(alphabet="{}%#'\"|~+*()[] .abvex01\n") | st.text())
def test_no_source_makes_anything_but_a_text_or_an_error(source: str) -> None:
    """And the error is one printable line that can be logged."""
    try:
        said = Template(source).render(VALUES)
    except TemplateError as error:
        said = ""
        words = str(error)
    else:
        words = "none"
    assert isinstance(said, str)
    assert 0 < len(words) <= 200
    assert "\n" not in words


@given(st.text(min_size=8, max_size=20, alphabet=st.characters(codec="ascii", categories=["L"])))
def test_no_error_holds_a_value(secret: str) -> None:
    """What fails says what the template does, not what it was filled with."""
    for source in ("{{ value + 1 }}", "{{ value.x }}", "{{ value / value }}", "{{ [][0] }}"):
        assert f"secret-{secret}" not in failure(source, f"secret-{secret}")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain } }", False),
        ("{ {", False),
        ("a {{ b }}", True),
        ("{% x %}", True),
        ("{# x #}", True),
    ],
)
def test_knows_a_template(text: str, wanted: bool) -> None:
    """By what only templates hold."""
    assert is_template(text) is wanted


@pytest.mark.parametrize(
    "source",
    [
        "{{ event.labels['com.docker.compose.project'] }} {{ event.labels.get('x', '-') }}",
        "{{ event.attributes.anything }} {{ included.inspect['State.Pid'] }}",
        "{{ included.logs | join('\n') }} {{ included.health }} {{ included.missing }}",
        "{{ notification.id }} {{ notification.route }} {{ notification.count }}",
        "{{ event.exit_code + 1 }} {{ event.signal * 2 }} {{ event.time_ns // 10 }}",
        "{{ event.time[:10] }} {{ event.detail }} {{ event.cause }} {{ event.health }}",
        "{{ severity | upper }} {{ headline }} {{ events | length }} {{ event.actor_id[:12] }}",
    ],
)
def test_the_sample_has_everything(source: str) -> None:
    """A template is not refused for what only the sample lacks."""
    assert Template(source).render(sample())
