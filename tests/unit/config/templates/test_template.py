"""What templates can do, and what neither they nor their values can."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.templates.budget import TemplateError, TemplateErrorKind
from relay.config.templates.context import STATUS_NAMES, TemplateValues, sample_context
from relay.config.templates.template import MAX_SOURCE_CHARS, Template, is_template
from tests.unit.config.templates.templates import VALUES, render, render_error


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
        ("{{ '2026-11-23T08:29:49.5+01:00' | utc }}", "2026-11-23T07:29:49Z"),
        ("{{ '2026-11-23T07:29:49Z' | utc | utc }}", "2026-11-23T07:29:49Z"),
        ("{{ (1795418989 * 10 ** 9) | utc }}", "2026-11-23T07:29:49Z"),
        ("{{ none | utc }}", ""),
        ("{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}", "2"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}", "<a>"),
        ("{% raw %}{{ raw }}{% endraw %}{# said to nobody #}", "{{ raw }}"),
        ("ends with a line\n", "ends with a line\n"),
        ("{{ event.name.removeprefix('web-').strip() }}", "1"),
        ("{{ event.labels.tier in ['web', 'db'] }} {{ 'tier' in event.labels }}", "True True"),
        ("{{ event.labels.tier == 'web' }} {{ 1 < event.exit_code <= 3 }}", "True True"),
        (
            "{{ events | selectattr('name', 'eq', 'web-2') | map(attribute='name') | first }}",
            "web-2",
        ),
        ("{{ event.detail | upper }}{{ event.detail | string | length }}", "0"),
        ("{% for k, v in event.labels.items() %}{{ k }}={{ v }};{% endfor %}", "tier=web;a.b=c;"),
        ("{{ event.labels | dictsort | map('join', '=') | join(' ') }}", "a.b=c tier=web"),
        ("{{ event | tojson | length > 9 }}", "True"),
        ("{{ event.name[:3] }} {{ event.name[::-1] }} {{ events[1:][0].name }}", "web 1-bew web-2"),
    ],
)
def test_render(source: str, text: str) -> None:
    """Templates as people write them are rendered."""
    assert render(source) == text


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("{{ evnt.name }}", TemplateErrorKind.NAME, "there is no 'evnt' (did you mean 'event'?)"),
        (
            "{% if 0 %}{{ evnt }}{% endif %}",
            TemplateErrorKind.NAME,
            "there is no 'evnt' (did you mean",
        ),
        ("{{ event.nmae }}", TemplateErrorKind.NAME, "there is no 'nmae' (did you mean 'name'?)"),
        ("{{ event.name.format(1) }}", TemplateErrorKind.NAME, "there is no 'format'"),
        ("{{ event.labels.tire }}", TemplateErrorKind.VALUE, "there is no 'tire'"),
        ("{{ '' | first }}", TemplateErrorKind.VALUE, "No first item, sequence was empty."),
        *(
            (f"{{{{ {value} | utc }}}}", TemplateErrorKind.VALUE, "it converts a value to UTC")
            for value in ("event.name", "'14:00'", "''", "(10 ** 30)", "1.5", "(-(10 ** 25))")
        ),
        ("{{ events | utc }}", TemplateErrorKind.TYPE, "it writes a value that is not text"),
        ("{{ 1 / 0 }}", TemplateErrorKind.VALUE, "it fails (ZeroDivisionError)"),
        ("{{ event.name + 1 }}", TemplateErrorKind.VALUE, "it fails (TypeError)"),
        (
            "{{ event.name",
            TemplateErrorKind.SYNTAX,
            "line 1: unexpected end of template, expected 'end of print statement'.",
        ),
        ("{% for x in events %}", TemplateErrorKind.SYNTAX, "line 1: Unexpected end of template."),
        ("a\n{% fi %}", TemplateErrorKind.SYNTAX, "line 2: Encountered unknown tag 'fi'."),
        ("{{ event.name | shout }}", TemplateErrorKind.SYNTAX, "line 1: No filter named 'shout'."),
        (
            "{{ '%s' % event.name }}",
            TemplateErrorKind.SYNTAX,
            "it formats with '%': join texts with '~'",
        ),
        ("{{ 'x' * 99999 }}", TemplateErrorKind.LIMIT, "it creates or writes too many characters"),
        (
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            TemplateErrorKind.LIMIT,
            "it is nested too deeply",
        ),
        (
            "x" * (MAX_SOURCE_CHARS + 1),
            TemplateErrorKind.LIMIT,
            f"it is longer than {MAX_SOURCE_CHARS} characters",
        ),
    ],
)
def test_error_messages(source: str, kind: TemplateErrorKind, message: str) -> None:
    """An error has its kind and a message of one line that contains no value."""
    error = render_error(source)
    assert error.kind is kind
    assert str(error).startswith(message)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{% include 'x' %}", "another template"),
        ("{% import 'x' as y %}", "another template"),
        ("{% from 'x' import y %}", "another template"),
        ("{% extends 'x' %}", "another template"),
        ("{% block x %}{% endblock %}", "another template"),
        ("{{ {'a': 1} }}", "a mapping"),
        ("{{ {} }}", "a mapping"),
        ("{{ [event.name] }}", "a list of more than constants"),
        ("{{ [[1]] }}", "a list of more than constants"),
        ("{% set x = 1, event %}", "a list of more than constants"),
        ("{{ range(*[1, 2]) }}", "arguments with '*'"),
        ("{{ namespace(**event) }}", "arguments with '*'"),
        ("{% for x in [1] recursive %}{% endfor %}", "a recursive loop"),
        ("{% autoescape true %}{% endautoescape %}", "'autoescape'"),
        ("{% macro m() %}{{ varargs }}{% endmacro %}", "'varargs'"),
        ("{% macro m() %}{{ kwargs }}{% endmacro %}", "'kwargs'"),
        ("{% macro m() %}{{ caller() }}{% endmacro %}", "'caller'"),
        ("{{ self.x }}", "'self'"),
        ("{{ super() }}", "'super'"),
    ],
)
def test_unsupported_syntax(source: str, what: str) -> None:
    """Syntax that could grow without limit is refused while compiling, with its line."""
    with pytest.raises(TemplateError) as caught:
        Template(f"\n{source}")
    assert caught.value.kind is TemplateErrorKind.SYNTAX
    assert str(caught.value) == f"line 2: it holds {what}, which relay does not support"


@pytest.mark.parametrize(
    "source",
    [
        "{{ event }}",
        "{{ event.labels }}",
        "{{ events }}",
        "{{ events | map(attribute='name') }}",
        "{{ event.labels ~ '' }}",
        "{{ event.labels + '' }}",
        "{{ [1] * 2 }}",
        "{{ event.labels.get }}",
        "{{ range }}",
        "{{ 1 if 0 else event.labels }}",
        "{{ event.labels | string }}",
        "{{ event.labels | upper }}",
        "{{ event.labels | urlencode }}",
        "{{ event.labels is lower }}",
        "{{ events | map('string') | join }}",
        "{{ events | join }}",
        "{{ namespace(x=event.labels) }}",
        "{% set n = namespace() %}{% set n.x = events %}",
        "{{ event == events[0] }}",
        "{{ event in events }}",
        "{{ event is in(events) }}",
        "{{ events | select('eq', event) | list | length }}",
        "{{ (-8) ** 0.5 }}",
    ],
)
def test_only_scalars_are_written_and_compared(source: str) -> None:
    """Writing or comparing a list or a mapping is an error: it could have any size."""
    assert render_error(source).kind is TemplateErrorKind.TYPE


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
def test_sandbox(source: str) -> None:
    """A template cannot reach Python internals or files, or change a value."""
    render_error(source)


def test_keys_win_over_methods() -> None:
    """A label with the name of a method is found; other methods still work."""
    labels = {"items": "i", "get": "g"}
    assert render(
        "{{ headline.items }}{{ headline['get'] }}{{ headline.keys() | join }}", labels
    ) == ("igitemsget")
    assert render_error("{{ headline['values'] }}", labels).kind is TemplateErrorKind.VALUE


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"""{{ "\ud83d\ude00" }}""", "😀"),
        (r"""{{ "\ud83d" ~ "\ude00" }}""", "😀"),
        (r"""{{ "\ud83d" }}{{ "\ude00" }}""", "😀"),
        (r"""a{{ "\ud83d" }}b""", "a\ufffdb"),
        (r"""{{ "\ude00\ud83d" }}""", "\ufffd\ufffd"),
        (r"""{{ "\ufeff" }}x""", "\ufeffx"),
    ],
)
def test_surrogates_are_joined_or_replaced(source: str, text: str) -> None:
    """The output can always be encoded: surrogate pairs are joined, single ones replaced."""
    assert render(source) == text


@given(st.text() | st.sampled_from(["{{ 7*7 }}", "{% raw %}", "${X}", "{{ event.name }}"]))
def test_a_value_is_never_a_template(value: str) -> None:
    """A value that looks like a template is written unchanged."""
    assert render("<{{ headline }}>", value) == f"<{value}>"


@given(st.text(alphabet="{}%#'\"|~+*()[] .abvex01\n") | st.text())
def test_any_source(source: str) -> None:
    """Any source gives a text or a `TemplateError` of one line."""
    try:
        said = Template(source).render(VALUES)
    except TemplateError as error:
        said = ""
        message = str(error)
    else:
        message = "none"
    assert isinstance(said, str)
    assert 0 < len(message) <= 200
    assert "\n" not in message


FAILING_SOURCES = (
    "{{ headline + 1 }}",
    "{{ headline.x }}",
    "{{ headline / headline }}",
    "{{ headline[headline] }}",
    "{{ event[headline] }}",
    "{{ event.labels[headline] }}",
    "{{ events[headline] }}",
    "{{ events | map(headline) | list }}",
    "{{ events | map(attribute=headline) | join }}",
    "{{ events | select(headline) | list }}",
    "{{ events | selectattr(headline) | list }}",
    "{{ events | sort(attribute=headline) | list }}",
    "{{ event | dictsort(by=headline) }}",
    "{{ events | max(attribute=headline) }}",
    "{{ 1 + (event.name | int(headline)) }}",
    "{{ headline | round }}",
    "{{ range(headline) }}",
    "{{ headline() }}",
    "{{ event.name.split(headline, headline) }}",
    "{{ event.labels.get(headline).x }}",
    "{{ headline is divisibleby(headline) }}",
    "{{ [][0] }}",
    "{% set a, b = headline %}",
    "{% set n = namespace(headline) %}",
)


@given(st.text(min_size=8, max_size=20, alphabet=st.characters(codec="ascii", categories=["L"])))
def test_errors_do_not_contain_values(secret: str) -> None:
    """An error describes the template, and contains no value."""
    for source in FAILING_SOURCES:
        error = render_error(source, f"secret-{secret}")
        assert secret not in str(error)
        assert "secret" not in repr(error)


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
def test_is_template(text: str, wanted: bool) -> None:
    """A text is a template if it contains Jinja syntax."""
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
        "{{ incident.subject }} {{ incident.ended_at[:10] }} {{ incidents[0].total + more }}",
        "{{ reason }} {{ group.project }} {{ group['label.tier'] }} {{ incident.resolution }}",
    ],
)
def test_the_sample_has_everything(source: str) -> None:
    """The sample context has every value that a template may use."""
    assert Template(source).render(sample_context())


@pytest.mark.parametrize(
    "expression",
    [
        "value is odd",
        "value is even",
        "value is divisibleby(3)",
        "[1] | map('default') | select('divisibleby', value) | list | length",
        "events | map(attribute='wide') | select('odd') | list | length",
        "events | selectattr('wide', 'even') | list | length",
    ],
)
def test_dividing_a_text_is_refused(expression: str) -> None:
    """Dividing a text is refused: Python would format it, with a width from a label."""
    wide = "%99999999d"
    values = {"event": TemplateValues(wide=wide), "events": [TemplateValues(wide=wide)]}
    template = Template("{% set value = event.wide %}{{ " + expression + " }}")
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match="divides a value that is not a number"):
            template.render(values)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("test", ["3 is odd", "4 is even", "9 is divisibleby(3)", "not 2 is odd"])
def test_dividing_a_number(test: str) -> None:
    """Numbers are divided as in Jinja."""
    assert render(f"{{{{ {test} }}}}") == "True"


@pytest.mark.parametrize(
    ("source", "names", "expected"),
    [
        ("{{ incident.subject }}", ("incident",), True),
        ("{% for each in incidents %}x{% endfor %}", ("incidents",), True),
        ("{{ group['project'] }}", ("group",), True),
        ("{{ notification.status }}", ("notification.status",), True),
        ("{{ notification['status'] | upper }}", ("notification.status",), True),
        ("{% set it = notification %}{{ it.status }}", ("notification.status",), True),
        ("{{ 'x' if notification.status == 'resolved' }}", ("notification.status",), True),
        ("{{ notification.count }}", ("notification",), True),
        ("{{ event.name }} {{ notification.count }}", STATUS_NAMES, False),
        ("incident group {{ event.labels.incident }}", STATUS_NAMES, False),
        ("{% for group in events %}{{ group.name }}{% endfor %}", STATUS_NAMES, False),
        ("{% set incident = event.name %}{{ incident }}", STATUS_NAMES, False),
        ("plain", STATUS_NAMES, False),
    ],
)
def test_names_that_a_template_uses(source: str, names: tuple[str, ...], expected: bool) -> None:
    """A template says which names of its context it takes, whatever it calls them."""
    assert Template(source).uses(*names) is expected
