"""Requests to any URL: relay's document, a CloudEvent, a template's text, or a GET without body.

The configuration chooses the structure of the body with ``format: template``. If the template of a
text fails, the headline replaces this text: a receiver most likely accepts a body of the right
structure with another text in it.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from relay.config import types, validators
from relay.config.destination import BatchConfig, OnTemplateError, Renderer, RouteTexts, Signing
from relay.config.errors import invalid
from relay.config.section import forbid, if_equals
from relay.config.templates.budget import MAX_STEPS, Budget, TemplateError
from relay.config.templates.template import Template, is_template
from relay.config.types import HeaderText, TemplateText, TemplateTree, split_lines
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.text import ELLIPSIS, escape_json_bytes
from relay.core.zone import TimeZone
from relay.destinations.common import document
from relay.destinations.common.envelope import Envelope
from relay.destinations.common.template_values import template_context
from relay.destinations.common.webhook import WebhookDestination

BODY_MAX = 262_144
"""How many characters all templates of a body together may produce."""
BODY_STEPS = 5 * MAX_STEPS
"""How many steps all templates of a body together may take."""
HEADLINES_MAX = 20
"""How many failed texts the headline replaces; an ellipsis replaces the others."""
PLAIN_TEXT = "text/plain; charset=utf-8"

_Tree = dict[str, "_Tree"] | list["_Tree"] | Template | str | int | float | bool | None
_Write = Callable[[Template, str], str]


class HttpDestination(WebhookDestination):
    """Any webhook; the configuration chooses the format."""

    public_keys = WebhookDestination.public_keys | {"format", "method", "sign"}
    schema_rules = (
        if_equals(
            "format",
            "template",
            {"oneOf": [{"required": ["body"]}, {"required": ["body_text"]}]},
            {
                "if": {"properties": {"format": False}},
                "then": forbid("body", "body_text"),
            },
        ),
        {"dependentRequired": {"content_type": ["body_text"]}},
        {
            "if": {"properties": {"batch": {"type": "object"}}, "required": ["batch"]},
            "then": {
                "properties": {
                    "format": {"not": {"enum": ["cloudevents-binary", "template"]}},
                    "method": {"not": {"const": "GET"}},
                }
            },
        },
    )

    type: Literal["http"] = "http"
    method: Literal["POST", "PUT", "PATCH", "GET"] = "POST"
    """``GET`` sends no body, so it excludes ``format`` and ``signing_secret``."""
    format: Literal["json", "cloudevents", "cloudevents-binary", "template"] = "json"
    """What the body holds: relay's document, the document as a CloudEvent, or your template."""
    body: TemplateTree | None = None
    """With ``format: template``: a tree that is sent as JSON. Each text in it is a template."""
    body_text: TemplateText | None = Field(default=None, validate_default=True)
    """With ``format: template``, instead of ``body``: a template for a body that is not JSON."""
    content_type: HeaderText | None = None
    """The content type of ``body_text``. Default: ``text/plain; charset=utf-8``."""
    batch: BatchConfig | None = None
    """With ``format: json`` or ``cloudevents``: sends many notifications in one request, as a JSON
    array of their documents. ``{}`` takes the defaults. Without it each has its own request."""
    sign: Literal["standard", "github"] | None = None
    """How requests are signed: by the Standard Webhooks specification (the default), or as GitHub
    signs its webhooks."""
    signing_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(split_lines)] = Field(
        default=(), validate_default=True
    )
    """``whsec_`` and the base64 of 24 to 64 bytes; with ``sign: github`` any text. While a secret
    is being replaced, give both on two lines, the new one first. Without a secret, requests are not
    signed."""

    @property
    def batching(self) -> BatchConfig | None:
        """How notifications are batched; None if each has a request of its own."""
        return self.batch

    @property
    def signing(self) -> Signing | None:
        """How requests are signed; None if they are not."""
        if not self.signing_secret:
            return None
        return Signing(self.sign or "standard", self.signing_secret)

    @property
    def body_texts(self) -> Sequence[str]:
        """The texts of ``body`` and ``body_text``. Any word in them may be a secret."""
        return (*(text for _, text in types.find_texts(self.body)), self.body_text or "")

    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """See `DestinationConfig`. The repr of the renderer shows no secret."""
        envelope = Envelope(self, on_template_error, zone)
        render_body = self._body_renderer(on_template_error, zone)

        def render(notification: Notification) -> Request:
            return envelope.wrap(render_body(notification), notification, self.method)

        return render

    def _body_renderer(self, on_template_error: OnTemplateError, zone: TimeZone) -> Renderer:
        url = self.endpoint
        match self.format:
            case "json":
                return lambda notification: document.render_document(notification, url)
            case "cloudevents":
                return lambda notification: document.render_structured(notification, url)
            case "cloudevents-binary":
                return lambda notification: document.render_binary(notification, url)
            case "template" if self.body_text is not None:
                content_type = self.content_type or PLAIN_TEXT
                return _text_renderer(self.body_text, content_type, url, on_template_error, zone)
            case "template":
                return _json_renderer(self.body, url, on_template_error, zone)

    @field_validator("body_text")
    @classmethod
    def _check_body(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "format" not in info.data or "body" not in info.data:  # absent if they are invalid
            return value
        given = (info.data["body"] is not None) + (value is not None)
        if info.data.get("method") == "GET" and info.data["format"] != "json":
            raise invalid("with 'method: GET' there is no body: remove 'format'")
        if info.data["format"] != "template":
            if given:
                raise invalid("'body' and 'body_text' are for 'format: template' only")
        elif given != 1:
            raise invalid("'format: template' needs 'body' (becomes JSON) or 'body_text', not both")
        return value

    @field_validator("content_type")
    @classmethod
    def _check_content_type(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "body_text" in info.data and info.data["body_text"] is None:
            raise invalid("'content_type' is for 'body_text' only")
        return value

    @field_validator("batch")
    @classmethod
    def _check_batch(cls, value: BatchConfig | None, info: ValidationInfo) -> BatchConfig | None:
        if value is None:
            return value
        if info.data.get("method") == "GET":
            raise invalid("with 'method: GET' there is no body that could hold many")
        if info.data.get("format") in ("cloudevents-binary", "template"):
            raise invalid("is for 'format: json' and 'format: cloudevents' only")
        for key in ("headers", "query"):
            for name, text in info.data.get(key, {}).items():
                if is_template(text.get_secret_value()):
                    raise invalid(f"'{key}.{name}' is a template, and many would share it")
        return value

    @field_validator("signing_secret")
    @classmethod
    def _check_signing_secret(
        cls, value: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        sign = info.data.get("sign")
        if "sign" in info.data and sign is not None and not value:
            raise invalid("'sign' needs a 'signing_secret' (or 'signing_secret_file')")
        if not all(secret.get_secret_value() for secret in value):
            raise invalid("is empty")
        if sign == "github" and len(value) != 1:
            raise invalid("'sign: github' needs one 'signing_secret', not two")
        if len(value) > 2:
            raise invalid("holds more than two secrets: keep the new one and the old one")
        if sign in ("standard", None):
            for secret in value:
                validators.check_signing_secret(secret.get_secret_value())
        if value and info.data.get("method") == "GET":
            raise invalid("with 'method: GET' there is no body to sign: remove 'signing_secret'")
        return value


def _text_renderer(
    body_text: str,
    content_type: str,
    url: str,
    on_template_error: OnTemplateError,
    zone: TimeZone,
) -> Renderer:
    """Return a renderer of ``body_text``. The template is compiled once, here."""
    template = Template(body_text)

    def render(notification: Notification) -> Request:
        writer = _BodyWriter(notification, zone)
        body = writer.write(template, "body_text").encode(errors="replace")
        writer.report_failure(on_template_error)
        return Request(body, url, {"Content-Type": content_type})

    return render


def _json_renderer(
    body: object, url: str, on_template_error: OnTemplateError, zone: TimeZone
) -> Renderer:
    """Return a renderer of ``body``, a tree of texts. The templates are compiled once, here.

    ``on_template_error`` is called with the first template of the tree that fails.
    """
    tree = _compile(body)

    def render(notification: Notification) -> Request:
        writer = _BodyWriter(notification, zone)
        content = escape_json_bytes(msgspec.json.encode(_fill(tree, "body", writer.write)))
        writer.report_failure(on_template_error)
        return Request(content, url, {"Content-Type": "application/json"})

    return render


def _compile(value: object) -> _Tree:
    match value:
        case dict():
            return {key: _compile(inner) for key, inner in value.items()}
        case list():
            return [_compile(inner) for inner in value]
        case str() if is_template(value):
            return Template(value)
        case str():
            # A text without expressions, such as a key or a channel, is rendered outside of the
            # body's budget: it must stay as it is, however long the other texts become.
            return Template(value).render({})
        case bool() | int() | float() | None:
            return value
    raise TypeError(f"YAML has no {type(value)}")


def _fill(tree: _Tree, path: str, write: _Write) -> object:
    match tree:
        case dict():
            return {key: _fill(inner, f"{path}.{key}", write) for key, inner in tree.items()}
        case list():
            return [_fill(inner, f"{path}[{at}]", write) for at, inner in enumerate(tree)]
        case Template():
            return write(tree, path)
        case _:
            return tree


class _BodyWriter:
    """Renders the texts of one body, which share one budget of steps and characters."""

    def __init__(self, notification: Notification, zone: TimeZone) -> None:
        self._context = template_context(notification, for_people=False, zone=zone)
        self._budget = Budget(BODY_STEPS, BODY_MAX)
        self._headlines = HEADLINES_MAX
        self._failures: list[tuple[str, str]] = []

    def write(self, template: Template, path: str) -> str:
        try:
            return template.render(self._context, self._budget)
        except TemplateError as error:
            self._failures.append((path, str(error)))
        self._headlines -= 1
        return str(self._context["headline"]) if self._headlines >= 0 else ELLIPSIS

    def report_failure(self, on_template_error: OnTemplateError) -> None:
        """Report the first failure only: it often causes the failures after it."""
        for path, reason in self._failures[:1]:
            on_template_error(path, reason)
