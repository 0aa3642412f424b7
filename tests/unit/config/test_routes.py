"""The model of a route."""

import pytest
from pydantic import ValidationError

from relay.config import Field, Glob, IncludeConfig, Match, Route
from relay.core.include import Include
from relay.destinations.console import ConsoleDestination

CONSOLE = ConsoleDestination()


def test_route() -> None:
    """A match is plain data or a `Match`; ``to`` is one destination or several."""
    found = Route.model_validate({"name": "a", "match": {"id": "x"}, "to": "ops"})
    assert found.match == Match(fields=(Field("id", None, (Glob("x"),)),))
    assert found.to == ("ops",)
    assert Route(name="a", match=found.match, to=("ops",)) == found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "needs 'to'"),
        ({"to": []}, "needs 'to'"),
        ({"drop": True, "to": "x"}, "'drop' and 'to' exclude each other"),
        ({"drop": True, "stop": True}, "'drop' already skips the routes below"),
        ({"drop": True, "include": {}}, "'drop' sends nothing: remove 'include'"),
    ],
)
def test_invalid_to_or_drop(entry: dict[str, object], message: str) -> None:
    """A route has either destinations or ``drop``."""
    with pytest.raises(ValidationError, match=message):
        Route.model_validate({"name": "a", **entry})


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({}, None),
        ({"logs": 0, "health": False, "inspect": []}, None),
        ({"logs": 200}, Include(logs=200)),
        ({"health": True}, Include(health=True)),
        ({"inspect": "RestartCount"}, Include(inspect=("RestartCount",))),
        (
            {"inspect": ["State.Pid", "Config.Labels.com.example/a-b_c"]},
            Include(inspect=("State.Pid", "Config.Labels.com.example/a-b_c")),
        ),
    ],
)
def test_include(entry: dict[str, object], wanted: Include | None) -> None:
    """A route may include more than the event; an empty section includes nothing."""
    assert IncludeConfig.model_validate(entry).request == wanted
    assert Route(name="a", to=("ops",)).include.request is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"logs": 201}, "less than or equal to 200"),
        ({"logs": -1}, "greater than or equal to 0"),
        ({"logs": True}, "is not a whole number"),
        ({"inspect": [f"F{n}" for n in range(21)]}, "names more than 20 fields"),
        *(
            ({"inspect": [path]}, "is not the path of an inspect field")
            for path in ("", ".", "a.", ".a", "a..b", "a b", "ä", "a\n", "{{.State}}", "x" * 201)
        ),
    ],
)
def test_invalid_include(entry: dict[str, object], message: str) -> None:
    """Values beyond the limits and invalid paths are refused."""
    with pytest.raises(ValidationError, match=message):
        IncludeConfig.model_validate(entry)
