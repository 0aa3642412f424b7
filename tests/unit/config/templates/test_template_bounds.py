"""What a template may cost, whoever wrote it."""

import multiprocessing
import resource
import time
from multiprocessing.connection import Connection

import msgspec
import pytest

from relay.config.templates.template import (
    MAX_CHARS,
    MAX_SOURCE_CHARS,
    MAX_STEPS,
    Budget,
    Template,
    TemplateError,
    TemplateErrorKind,
)
from relay.core.event import Actor
from relay.core.notification import Included, build_notification
from relay.core.text import escape_unprintable
from relay.destinations.common.template_context import build_context
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
"""Of which all that others choose is as large as it may be, or larger."""


def _in_child(source: str, result: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    before_kb, before_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        Template(source).render(build_context(HUGE, escape_unprintable))
        fault = None
    except TemplateError as error:
        fault = error.kind
    taken_s = time.process_time() - before_s
    taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    result.send((taken_s, taken_kb // 1024, fault))


def measure(source: str) -> tuple[float, int, TemplateErrorKind | None]:
    """Seconds of CPU and megabytes that a template takes, and how it fails."""
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
    # what once took gigabytes, or for ever
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
    # what takes no look-up and no call, many times in each of many rounds
    "{% set a = '' %}" + ROUNDS.format("{{ a }}" * 2_000),
    "{% set a = '' %}" + ROUNDS.format("{% set b = a %}" * 1_000),
    ROUNDS.format("{% set a = [" + "1," * 7_000 + "] %}"),
    ROUNDS.format("{% if none %}{% endif %}" * 600),
    "{% set a = '' %}{% macro m() %}" + "{{ a }}" * 2_000 + "{% endmacro %}"
    "{% for i in range(999) %}{{ m() }}{{ m() }}{{ m() }}{{ m() }}{% endfor %}",
]


@pytest.mark.parametrize("source", EXPENSIVE_SOURCES)
def test_no_template_takes_for_ever_or_grows_without_bounds(source: str) -> None:
    """It fails, in far less time than a delivery takes and in little room."""
    taken_s, taken_mb, fault = measure(source)
    assert fault is not None
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
def test_what_is_huge_costs_nothing_where_little_of_it_is_used(source: str) -> None:
    """Labels of megabytes hold nobody up, and make no template fail."""
    taken_s, taken_mb, fault = measure(source)
    assert fault is None
    assert taken_s < 5
    assert taken_mb < 60


def test_a_render_starts_with_a_full_measure() -> None:
    """What one used is not missing in the next."""
    template = Template("{% for a in range(900) %}{{ a }}{% endfor %}")
    assert len({template.render({}) for _ in range(100)}) == 1


@pytest.mark.parametrize("source", ["{{ headline }}", "{{ headline ~ '' }}", "{{ '' + headline }}"])
def test_makes_and_writes_so_much_and_no_more(source: str) -> None:
    """What it makes and what it writes of that are counted both."""
    most = MAX_CHARS if source == "{{ headline }}" else MAX_CHARS // 2
    assert render(source, "x" * most) == "x" * most
    assert render_error(source, "x" * (most + 1)).kind is TemplateErrorKind.LIMIT


def test_several_renders_can_share_one_measure() -> None:
    """What the first took is not there for the second."""
    template, budget = Template("{{ 'x' * 60 }}"), Budget(MAX_STEPS, 200)
    assert template.render({}, budget) == "x" * 60
    with pytest.raises(TemplateError, match="creates or writes too many characters"):
        template.render({}, budget)
    few = Budget(3)
    with pytest.raises(TemplateError, match="takes too many steps"):
        Template("{{ 1 + 1 + 1 + 1 + 1 }}").render({}, few)


def test_a_failed_render_leaves_nothing_behind() -> None:
    """Who looks at the values afterwards spends no measure."""
    known = build_context(build_notification("r", CRASH))
    with pytest.raises(TemplateError):
        Template("{{ 'x' * 99999 }}").render(known)
    event = known["event"]
    assert isinstance(event, dict)
    for _ in range(MAX_STEPS + 1):
        assert event["labels"]["name"] == "shop-web-1"
