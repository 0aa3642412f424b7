from typing import Any

import pytest

from relay.config.errors import InvalidValue
from relay.config.match import Exists, Field, Glob, Match, Not, Range, Regex
from relay.config.match_parser import parse_match


def _field(data: object, name: str = "name") -> tuple[Any, ...]:
    """The patterns of a field whose match is ``data``."""
    (field,) = parse_match({name: data}).fields
    return field.patterns


def _issues(data: object, *, engines: frozenset[str] | None = None) -> list[tuple[object, ...]]:
    """The paths and messages of the issues in a match."""
    with pytest.raises(InvalidValue) as caught:
        parse_match(data, engines=engines)
    return [(".".join(map(str, one.path)), one.message) for one in caught.value.issues]


@pytest.mark.parametrize("data", [None, {}])
def test_empty_match(data: object) -> None:
    """Nothing and an empty mapping give the match that matches everything."""
    assert parse_match(data) == Match()


def test_fields() -> None:
    """Fields keep the order in which they are written, each with its patterns."""
    found = parse_match({"type": "container", "action": ["die", "oom"]})
    assert found.fields == (
        Field("type", None, (Glob("container"),)),
        Field("action", None, (Glob("die"), Glob("oom"))),
    )


def test_labels_and_attributes() -> None:
    """Each label and each attribute is a field with a key."""
    found = parse_match({"label": {"a.b": "x", "regex": ["y", "z"]}, "attribute": {"k": "v"}})
    assert found.fields == (
        Field("label", "a.b", (Glob("x"),)),
        Field("label", "regex", (Glob("y"), Glob("z"))),
        Field("attribute", "k", (Glob("v"),)),
    )


def test_special_patterns() -> None:
    """A mapping is a pattern that a glob cannot express, and patterns can be nested."""
    (pattern,) = _field({"regex": "a+"})
    assert pattern == Regex("a+")
    assert _field({"exists": False}) == (Exists(expected=False),)
    assert _field({"exists": "true"}) == (Exists(expected=True),)
    assert _field({"not": ["a", "b"]}) == (Not((Glob("a"), Glob("b"))),)
    assert _field({"not": {"not": "a"}}) == (Not((Not((Glob("a"),)),)),)


def test_numbers() -> None:
    """Exit codes and signals are ranges, also in a negation."""
    assert _field([137, "1-5"], "exit_code") == (Range(137, 137), Range(1, 5))
    assert _field({"not": 0}, "exit_code") == (Not((Range(0, 0),)),)
    assert _field(["KILL", 15], "signal") == (Range(9, 9), Range(15, 15))


def test_groups() -> None:
    """Whole matches are combined with any, all and not."""
    found = parse_match(
        {"any": [{"name": "a"}, {"name": "b"}], "all": [{"id": "c"}], "not": {"host": "d"}}
    )
    a, b, c, d = (
        Match((Field(name, None, (Glob(text),)),))
        for name, text in [("name", "a"), ("name", "b"), ("id", "c"), ("host", "d")]
    )
    assert found == Match(any=(a, b), all=(c,), not_=d)


def test_scalars_as_written() -> None:
    """Numbers and booleans are compared as text."""
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
def test_accepted_values(data: object, wanted: str) -> None:
    """Known values, globs that match one, and values not similar to any are accepted."""
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
def test_mistyped_values(data: object, message: str) -> None:
    """A value that cannot match is an error with a suggestion, also in a negation."""
    assert [found for _, found in _issues(data)] == [message]


def test_engines() -> None:
    """A plain engine name must be configured; globs, and any name without a list, are accepted."""
    engines = frozenset({"edge-1"})
    assert _issues({"engine": "egde-1"}, engines=engines) == [
        ("engine", "is not a configured engine (did you mean 'edge-1'?)")
    ]
    assert parse_match({"engine": ["edge-1", "x*"]}, engines=engines)
    assert parse_match({"engine": "whatever"})


@pytest.mark.parametrize(
    ("data", "path", "message"),
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
        ({"name": {"regex": "("}}, "name.regex", "is not a regular expression"),
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
def test_invalid_match(data: object, path: str, message: str) -> None:
    """An error says what is wrong, and at which path."""
    ((found_path, found_message),) = _issues(data)
    assert found_path == path
    assert message in str(found_message)


def test_every_issue_at_once() -> None:
    """One issue does not hide the others."""
    data = {"type": "contaner", "any": [{"name": "["}, {"x": 1}], "not": {"cause": "?"}}
    assert [path for path, _ in _issues(data)] == ["type", "any.0.name", "any.1.x", "not.cause"]


@pytest.mark.parametrize("outer", ["match", "pattern"])
def test_nesting_is_limited(outer: str) -> None:
    """Nested matches and nested patterns have a limit of depth."""
    data: object = {"type": "x"} if outer == "match" else "x"
    for _ in range(50):
        data = {"not": data}
    (found,) = _issues(data if outer == "match" else {"name": data})
    assert found[1] == "is nested too deeply"
