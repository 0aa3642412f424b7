"""Templates, rendered for tests."""

import pytest

from relay.config.templates.template import Facts, Template, TemplateError

TWICE = "{{% for i in range(40) %}}{{% set n.x = {} %}}{{% endfor %}}"


VALUES = {
    "event": Facts(name="web-1", exit_code=3, detail=None, labels={"tier": "web", "a.b": "c"}),
    "events": [Facts(name="web-1"), Facts(name="web-2")],
}


def rendered(source: str, value: object = None) -> str:
    """The text with ``value`` as the headline."""
    return Template(source).render({**VALUES, "headline": value})


def failure(source: str, value: object = None) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        rendered(source, value)
    return caught.value
