"""Helpers that render templates."""

import pytest

from relay.config.templates.budget import TemplateError
from relay.config.templates.context import TemplateValues
from relay.config.templates.template import Template

DOUBLING_LOOP = "{{% for i in range(40) %}}{{% set n.x = {} %}}{{% endfor %}}"


VALUES = {
    "event": TemplateValues(
        name="web-1", exit_code=3, detail=None, labels={"tier": "web", "a.b": "c"}
    ),
    "events": [TemplateValues(name="web-1"), TemplateValues(name="web-2")],
}


def render(source: str, value: object = None) -> str:
    """Render a template with ``value`` as the headline."""
    return Template(source).render({**VALUES, "headline": value})


def render_error(source: str, value: object = None) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(source, value)
    return caught.value
