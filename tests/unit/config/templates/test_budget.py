"""The limits of CPU time and memory for any template."""

import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from typing import NoReturn

import msgspec
import pytest
from jinja2.optimizer import Optimizer

from relay.config.templates.budget import (
    MAX_CHARS,
    MAX_STEPS,
    Budget,
    TemplateError,
    TemplateErrorKind,
)
from relay.config.templates.context import build_context
from relay.config.templates.template import MAX_SOURCE_CHARS, Template
from relay.core.event import Actor
from relay.core.include import Included
from relay.core.notification import build_notification
from relay.core.text import escape_unprintable
from relay.core.zone import UTC_ZONE
from relay.destinations.common.template_values import template_context
from tests.unit.config.templates.templates import DOUBLING_LOOP, render, render_error
from tests.unit.destinations.samples import CRASH, INCLUDE, with_fields

LONG = "x" * 30_000


LOOP = "{{% for i in range(999) %}}{}{{% endfor %}}"


ROUNDS = "{{% for i in range(999) %}}{{% for j in range(19) %}}{}{{% endfor %}}{{% endfor %}}"


HUGE_EVENT = build_notification(
    "r",
    with_fields(
        CRASH,
        actor=Actor(
            "a", LONG * 2, LONG, {"x": "\x00" * 65_536, **{f"k{n}": "v" for n in range(50_000)}}
        ),
    ),
)


HUGE = msgspec.structs.replace(
    HUGE_EVENT,
    include=INCLUDE,
    included=Included(
        logs=tuple(f"{n:>100}" for n in range(200)),
        inspect={"numbers": list(range(1000)), "deep": msgspec.json.decode("[" * 500 + "]" * 500)},
    ),
)
"""A notification in which everything from the outside is as large as possible, or larger."""


def _in_child(source: str, result: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    before_kb, before_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        Template(source).render(template_context(HUGE, for_people=True, zone=UTC_ZONE))
        kind = None
    except TemplateError as error:
        kind = error.kind
    taken_s = time.process_time() - before_s
    taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    result.send((taken_s, taken_kb // 1024, kind))


def measure(source: str) -> tuple[float, int, TemplateErrorKind | None]:
    """The seconds of CPU time and the megabytes that a template takes, and how it fails."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=_in_child, args=(source, there))
    child.start()
    there.close()
    try:
        taken: tuple[float, int, TemplateErrorKind | None] = here.recv()  # EOFError: it was killed
    finally:
        child.join()
    return taken


EXPENSIVE_SOURCES = [
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
    "{% set n = namespace(x='ab') %}" + DOUBLING_LOOP.format("n.x ~ n.x"),
    "{% set n = namespace(x='ab') %}" + DOUBLING_LOOP.format("n.x + n.x"),
    "{% set n = namespace(x=[1]) %}" + DOUBLING_LOOP.format("n.x + n.x"),
    "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set n = namespace(x='ab') %}"
    + DOUBLING_LOOP.format("m(n.x)"),
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
    "x" * (MAX_SOURCE_CHARS + 1),
    # templates that once took gigabytes, or did not end
    "{% set n=namespace(t=(0,0)) %}{% for i in range(60) %}{% set n.t=(n.t,n.t) %}{% endfor %}"
    "{{ {n.t:1}|length }}",
    '{% set a=["x"]*4096 %}{% set b=[a]*4096 %}{{ b }}',
    "{% set n=namespace(l=[]) %}" + LOOP.format("{% set n.l=['😀'*65536, n.l] %}"),
    f"{{% set a='x'*32000 %}}{{% set b='x'*32000 %}}{LOOP.format('{{ a == b }}' * 100)}",
    "{% set a = event.name[:32000] ~ '1' %}{% set b = event.name[:32000] ~ '2' %}"
    + LOOP.format("{{ a < b }}"),
    LOOP.format("{{ 'y' in event.name }}" * 10),
    LOOP.format("{{ 'y' is in(event.name) }}" * 10),
    "{% autoescape true %}{{ '<'*65000 }}{% endautoescape %}",
    LOOP.format("{% set x = included.logs | select('in', event.name) | list %}"),
    LOOP.format(
        "{% set x = included.inspect.numbers | reject('in', included.inspect.numbers) | list %}"
    ),
    LOOP.format("{{ event.labels.x | length }}"),
    LOOP.format("{{ event.labels.items() | length }}" * 50),
    LOOP.format("{{ event.labels | tojson | length }}"),
    "{{ event | tojson | length }}",
    LOOP.format("{% set x = event.name.split('x') %}"),
    LOOP.format("{% set x = event.name | list | sort %}"),
    LOOP.format("{% set x = event.name | title %}"),
    "{% set a = '漢,' * 30000 %}" + "".join(f"{{% set x{n} = a.split(',') %}}" for n in range(99)),
    "{% set a = '😀' * 60000 %}" + LOOP.format("{% set x = a | urlencode %}"),
    "{% set a = ('f' * 60000) | int(base=16) %}" + LOOP.format("{% set x = a // 3 %}"),
    "{% set a = ('1' * 60000) | int(base=2) %}" + LOOP.format("{{ a is divisibleby(3) }}"),
    "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(30) }}",
    "{% macro m() %}{% for i in range(9) %}{{ m() }}{% endfor %}{% endmacro %}{{ m() }}",
    "{% set n = namespace(x=event.name) %}" + LOOP.format("{% set n.x = n.x[1:] %}"),
    "{% set a = event.name | list %}" + LOOP.format("{% set b = a[1:] %}" * 100),
    "{% set a = event.name | list %}" + "".join(f"{{% set x{n} = a[1:] %}}" for n in range(400)),
    # work without look-ups or calls, many times in each of many rounds
    "{% set a = '' %}" + ROUNDS.format("{{ a }}" * 2_000),
    "{% set a = '' %}" + ROUNDS.format("{% set b = a %}" * 1_000),
    ROUNDS.format("{% set a = [" + "1," * 7_000 + "] %}"),
    ROUNDS.format("{% if none %}{% endif %}" * 600),
    "{% set a = '' %}{% macro m() %}" + "{{ a }}" * 2_000 + "{% endmacro %}"
    "{% for i in range(999) %}{{ m() }}{{ m() }}{{ m() }}{{ m() }}{% endfor %}",
]


@pytest.mark.parametrize("source", EXPENSIVE_SOURCES)
def test_expensive_templates_fail(source: str) -> None:
    """An expensive template fails within a few seconds, and with little memory."""
    taken_s, taken_mb, kind = measure(source)
    assert kind is not None
    assert taken_s < 5
    assert taken_mb < 60


@pytest.mark.parametrize(
    "source",
    [
        "{{ event.labels | length }} {{ event.labels.k9 }} {{ 'k8' in event.labels }}",
        "{% for i in range(999) %}{{ event.labels.get('k7') }}{{ event.labels.k6 }}{% endfor %}",
        "{{ event.name is defined }}{{ event.labels is defined }}{{ event.name[:9] }}",
        "{{ included.logs | join('\n') | length }}{{ included.inspect | tojson | length }}",
        "{% for line in included.logs %}{{ line[-3:] }}{% endfor %}",
    ],
)
def test_unused_values_cost_nothing(source: str) -> None:
    """A template that uses a small part of huge labels works, and is fast."""
    taken_s, taken_mb, kind = measure(source)
    assert kind is None
    assert taken_s < 5
    assert taken_mb < 60


def _nest_replace(depth: int) -> str:
    """Return an expression that would make a text eight times as long, again and again."""
    expression = "'x'"
    for _ in range(depth):
        expression = f"({expression} | replace('x', 'xxxxxxxx'))"
    return expression


def test_a_branch_that_is_never_rendered_costs_nothing() -> None:
    """Its constants are evaluated neither when the template is compiled nor when it is rendered."""
    taken_s, taken_mb, kind = measure(f"{{% if false %}}{{{{ {_nest_replace(9)} }}}}{{% endif %}}")
    assert kind is None
    assert taken_s < 5
    assert taken_mb < 60


@pytest.mark.parametrize(
    "source",
    [
        "{% if false %}{{ 'x' | upper }}{% endif %}",
        "{{ " + "event" + ".x" * 150 + " }}",
        "{% set a = 1 + 2 %}{{ a is odd }}",
    ],
)
def test_compiling_evaluates_nothing(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jinja's optimizer would evaluate constants, and visit a chain once for each of its links."""

    def fail(*_: object) -> NoReturn:
        raise AssertionError("the optimizer was used")

    monkeypatch.setattr(Optimizer, "generic_visit", fail)
    Template(source)


@pytest.mark.parametrize("character", ["\x00", "\n", "\u202e", "\U000e0001"])
@pytest.mark.parametrize("length", [15, 640, 65_536])
def test_characters_that_do_not_print_count_for_more(character: str, length: int) -> None:
    """Escaping one takes about as long as a step, so a render escapes no more than some 100,000."""
    escaped = 0

    def escape(text: str) -> str:
        nonlocal escaped
        escaped += 0 if text.isprintable() else len(text)
        return escape_unprintable(text)

    labels = {f"k{number}": character * length for number in range(30)}
    huge = build_notification("r", with_fields(CRASH, actor=Actor("a", "b", "c", labels)))
    context = build_context(huge, "", Included(), escape)
    with pytest.raises(TemplateError, match="takes too many steps"):
        Template(LOOP.format("{% if event.labels.values() %}{% endif %}")).render(context)
    assert escaped < 5 * MAX_STEPS + length


def test_a_long_text_on_many_lines_can_be_used() -> None:
    """A label may hold a configuration of many lines."""
    labels = {"x": "some=thing\n" * 1_500}
    few = build_notification("r", with_fields(CRASH, actor=Actor("a", "b", "c", labels)))
    context = template_context(few, for_people=True, zone=UTC_ZONE)
    source = "{{ event.labels.x | length }} {{ event.labels.x[:4] }}{{ event.labels.x }}"
    assert Template(source).render(context).startswith("18000 somesome=thing")


def test_each_render_has_its_own_budget() -> None:
    """A render does not use up the budget of the next one."""
    template = Template("{% for a in range(900) %}{{ a }}{% endfor %}")
    assert len({template.render({}) for _ in range(100)}) == 1


@pytest.mark.parametrize("source", ["{{ headline }}", "{{ headline ~ '' }}", "{{ '' + headline }}"])
def test_created_and_written_characters_count(source: str) -> None:
    """Characters count when they are created and when they are written."""
    most = MAX_CHARS if source == "{{ headline }}" else MAX_CHARS // 2
    assert render(source, "x" * most) == "x" * most
    assert render_error(source, "x" * (most + 1)).kind is TemplateErrorKind.LIMIT


def test_shared_budget() -> None:
    """Several renders can share a budget."""
    template, budget = Template("{{ 'x' * 60 }}"), Budget(MAX_STEPS, 200)
    assert template.render({}, budget) == "x" * 60
    with pytest.raises(TemplateError, match="creates or writes too many characters"):
        template.render({}, budget)
    few = Budget(3)
    with pytest.raises(TemplateError, match="takes too many steps"):
        Template("{{ 1 + 1 + 1 + 1 + 1 }}").render({}, few)


def test_a_failed_render_leaves_nothing_behind() -> None:
    """Reading a context after a failed render counts against no budget."""
    known = template_context(build_notification("r", CRASH), for_people=False, zone=UTC_ZONE)
    with pytest.raises(TemplateError):
        Template("{{ 'x' * 99999 }}").render(known)
    event = known["event"]
    assert isinstance(event, dict)
    for _ in range(MAX_STEPS + 1):
        assert event["labels"]["name"] == "shop-web-1"
