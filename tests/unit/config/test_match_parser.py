from typing import Any

import pytest

from relay.config.errors import InvalidValue
from relay.config.match import Exists, Field, Glob, Match, Not, Range, Regex
from relay.config.match_parser import parse_match


def _field(data: object, name: str = "name") -> tuple[Any, ...]:
    """The patterns of a field that is matched with ``data``."""
    (field,) = parse_match({name: data}).fields
    return field.patterns


def _issues(data: object, *, engines: frozenset[str] | None = None) -> list[tuple[object, ...]]:
    """Trails and messages of what is wrong with a match."""
    with pytest.raises(InvalidValue) as caught:
        parse_match(data, engines=engines)
    return [(".".join(map(str, one.path)), one.message) for one in caught.value.issues]


@pytest.mark.parametrize("data", [None, {}])
def test_nothing_to_match(data: object) -> None:
    """An empty match is the one that takes everything."""
    assert parse_match(data) == Match()


def test_fields() -> None:
    """Fields stand in the order in which they are written, each with its patterns."""
    found = parse_match({"type": "container", "action": ["die", "oom"]})
    assert found.fields == (
        Field("type", None, (Glob("container"),)),
        Field("action", None, (Glob("die"), Glob("oom"))),
    )


def test_labels_and_attributes() -> None:
    """Every label and every attribute is a field with a key."""
    found = parse_match({"label": {"a.b": "x", "regex": ["y", "z"]}, "attribute": {"k": "v"}})
    assert found.fields == (
        Field("label", "a.b", (Glob("x"),)),
        Field("label", "regex", (Glob("y"), Glob("z"))),
        Field("attribute", "k", (Glob("v"),)),
    )


def test_special_patterns() -> None:
    """Mappings are for what a glob cannot say, and nest."""
    (pattern,) = _field({"regex": "a+"})
    assert isinstance(pattern, Regex)
    assert pattern.compiled.pattern == "a+"
    assert _field({"exists": False}) == (Exists(expected=False),)
    assert _field({"exists": "true"}) == (Exists(expected=True),)
    assert _field({"not": ["a", "b"]}) == (Not((Glob("a"), Glob("b"))),)
    assert _field({"not": {"not": "a"}}) == (Not((Not((Glob("a"),)),)),)


def test_numbers() -> None:
    """Exit codes and signals are ranges, in a negation too."""
    assert _field([137, "1-5"], "exit_code") == (Range(137, 137), Range(1, 5))
    assert _field({"not": 0}, "exit_code") == (Not((Range(0, 0),)),)
    assert _field(["KILL", 15], "signal") == (Range(9, 9), Range(15, 15))


def test_groups() -> None:
    """Whole matches combine with any, all and not."""
    found = parse_match(
        {"any": [{"name": "a"}, {"name": "b"}], "all": [{"id": "c"}], "not": {"host": "d"}}
    )
    a, b, c, d = (
        Match((Field(name, None, (Glob(text),)),))
        for name, text in [("name", "a"), ("name", "b"), ("id", "c"), ("host", "d")]
    )
    assert found == Match(any=(a, b), all=(c,), not_=d)


def test_scalars_as_written() -> None:
    """Numbers and booleans are compared as the text they are."""
    assert _field([1, True, False]) == (Glob("1"), Glob("true"), Glob("false"))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"cause": "c*"}, "c*"),
        ({"cause": "[co]*"}, "[co]*"),
        ({"origin": "inferred"}, "inferred"),
        ({"scope": "swarm"}, "swarm"),
        ({"type": "relay"}, "relay"),
        ({"type": "flugelhorn"}, "flugelhorn"),
        ({"type": "contaner*"}, "contaner*"),
        ({"action": "health_status: unhealthy"}, "health_status: unhealthy"),
        ({"action": "exec_start: dei"}, "exec_start: dei"),
        ({"action": "loadfromarchive"}, "loadfromarchive"),
        ({"action": "heartbeat"}, "heartbeat"),
    ],
)
def test_words_that_are_taken(data: object, wanted: str) -> None:
    """Known words are taken, globs that fit one, and words that are near none that is known."""
    (field,) = parse_match(data).fields
    assert field.patterns == (Glob(wanted),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "contaner"}, "is not a known type (did you mean 'container'?)"),
        ({"type": "Container"}, "is not a known type (did you mean 'container'?)"),
        ({"action": "dei"}, "is not a known action (did you mean 'die'?)"),
        ({"action": "OOM"}, "is not a known action (did you mean 'oom'?)"),
        ({"action": "exec_strat: x"}, "is not a known action (did you mean 'exec_start'?)"),
        ({"health": "unhealty"}, "is not a known health (did you mean 'unhealthy'?)"),
        ({"cause": "crashd"}, "matches no cause (did you mean 'crashed'?)"),
        (
            {"cause": "x*"},
            "matches no cause: there are requested, oom, crashed, finished, unknown",
        ),
        ({"origin": "life"}, "matches no origin (did you mean 'live'?)"),
        ({"scope": "global"}, "matches no scope (did you mean 'local'?)"),
        ({"cause": {"not": "crashd"}}, "matches no cause (did you mean 'crashed'?)"),
    ],
)
def test_mistyped_words(data: object, message: str) -> None:
    """A word that can match nothing is a mistake, with a suggestion, in a negation too."""
    assert [found for _, found in _issues(data)] == [message]


def test_engines() -> None:
    """A plain engine must be a configured one; a glob is taken, and nothing is checked blindly."""
    engines = frozenset({"edge-1"})
    assert _issues({"engine": "egde-1"}, engines=engines) == [
        ("engine", "is not a configured engine (did you mean 'edge-1'?)")
    ]
    assert parse_match({"engine": ["edge-1", "x*"]}, engines=engines)
    assert parse_match({"engine": "whatever"})


@pytest.mark.parametrize(
    ("data", "trail", "words"),
    [
        ("x", "", "must be a mapping"),
        ({"acton": "die"}, "acton", "unknown key 'acton' (did you mean 'action'?)"),
        ({"name": []}, "name", "is an empty list"),
        ({"name": [["a"]]}, "name.0", "is a list in a list"),
        ({"name": None}, "name", "write {exists: true} for any value"),
        ({"name": {}}, "name", "must hold exactly one of"),
        ({"name": {"regex": "a", "not": "b"}}, "name", "must hold exactly one of"),
        ({"name": {"regexp": "a"}}, "name.regexp", "unknown key 'regexp' (did you mean 'regex'?)"),
        ({"name": {"regex": None}}, "name.regex", "must be the text"),
        ({"name": {"regex": "("}}, "name.regex", "is not a regular expression at position 0"),
        ({"name": {"exists": "maybe"}}, "name.exists", "must be true or false"),
        ({"exit_code": {"regex": "1"}}, "exit_code.regex", "exit_code is a number"),
        ({"label": "x"}, "label", "must be a mapping of names to patterns"),
        ({"label": {}}, "label", "must be a mapping of names to patterns"),
        ({"label": {"x": None}}, "label.x", "write {exists: true} for any value"),
        ({"any": []}, "any", "is an empty list"),
        ({"all": {}}, "all", "must be a list of matches"),
        ({"any": [{}]}, "any.0", "is empty and would match every event"),
        ({"not": None}, "not", "is empty and would match every event"),
    ],
)
def test_mistakes(data: object, trail: str, words: str) -> None:
    """What is no match is told, and where."""
    ((found, message),) = _issues(data)
    assert found == trail
    assert words in str(message)


def test_all_mistakes_at_once() -> None:
    """One mistake hides no other."""
    data = {"type": "contaner", "any": [{"name": "["}, {"x": 1}], "not": {"cause": "?"}}
    assert [trail for trail, _ in _issues(data)] == ["type", "any.0.name", "any.1.x", "not.cause"]


@pytest.mark.parametrize("outer", ["match", "pattern"])
def test_nesting_is_bounded(outer: str) -> None:
    """No match nests without end, by whole matches or by patterns."""
    data: object = {"type": "x"} if outer == "match" else "x"
    for _ in range(50):
        data = {"not": data}
    (found,) = _issues(data if outer == "match" else {"name": data})
    assert found[1] == "is nested too deeply"
