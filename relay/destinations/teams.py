"""Messages for a Microsoft Teams workflow that a webhook request starts: one Adaptive Card each.

The workflow posts each card among the ``attachments``
(https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook).

Names, labels and images are hostile. Teams reads Markdown and mentions in a ``TextBlock`` and a
``FactSet`` (https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards/cards/cards-format),
but not in the runs of a ``RichTextBlock``
(https://learn.microsoft.com/adaptive-cards/schema-explorer/text-run). So every text is in such a
run, and nothing has to be escaped. A mention would also need an entity in ``msteams``. There remain
``{{DATE(…)}}`` and ``{{TIME(…)}}``, which Teams does not support but Microsoft's own library
replaces, even in runs: a space between the braces prevents that.

The link of the configuration is a button
(https://learn.microsoft.com/adaptive-cards/schema-explorer/action-open-url).
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

from relay.config.errors import ConfigIssue, IssueScope
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.severity import Severity
from relay.core.text import truncate, utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import HEALTH, LOGS, Output
from relay.destinations.common.pieces import Piece, PieceKind
from relay.destinations.common.responses import (
    ERROR_STATUSES,
    is_2xx,
    parse_acknowledgement,
)
from relay.destinations.common.service import ServiceDestination

MESSAGE_MAX = 28_000
"""In bytes. https://learn.microsoft.com/connectors/teams/ says "about 28 KB", but not how they are
counted. In UTF-16, ASCII would take twice its length: the message stays below the limit even so."""

# Our own limits, in UTF-16 units. A unit takes at most three bytes of JSON, so the longest possible
# message stays below `MESSAGE_MAX`.
TITLE_MAX = 200
VALUE_MAX = 200
"""Each fact."""
INSPECT_MAX = 1_200
"""All inspect fields together, with their paths."""
CUSTOM_TEXT_MAX = 1_500
"""The text of the configuration, which replaces the facts."""
NOTE_MAX = 120
"""Each note."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All output of each kind."""

Part = dict[str, object]

_COLOURS = {
    Severity.CRITICAL: "Attention",
    Severity.WARNING: "Warning",
    Severity.INFO: "Accent",
}
_COLOUR_RESOLVED = "Good"
_FUNCTION = re.compile(r"\{\{(?=(?:DATE|TIME)\()")
_INNER_STATUS = re.compile(rb"HTTP error (\d{3})")
"""Teams answers 200 to a message that it could not post, and describes the failure in the text."""

_RETIRED = re.compile(
    r"https://([^/]+\.webhook\.office\.com/|outlook\.office(365)?\.com/webhook/)", re.IGNORECASE
)
"""The addresses of Office 365 connectors, which Microsoft has retired:
https://devblogs.microsoft.com/microsoft365dev/retirement-of-office-365-connectors-within-microsoft-teams/"""


class TeamsDestination(ServiceDestination):
    """A Microsoft Teams workflow that is started by a webhook request."""

    # Workflows and, before them, connectors
    own_urls = (
        r"https://([^/]+\.)?(logic\.azure|powerplatform|powerautomate|webhook\.office)\.com[:/]"
        r"|https://outlook\.office(365)?\.com/webhook/"
    )

    type: Literal["teams"] = "teams"

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a connector: Microsoft has retired them."""
        if _RETIRED.match(self.endpoint):
            message = (
                "is a connector, which Microsoft has retired: make a workflow of Teams "
                "('Post to a channel when a webhook request is received') and take its URL"
            )
            yield ConfigIssue(("url",), message, IssueScope.VALUE)

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        attachment: dict[str, Any] = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": None,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                # The first version with all these elements, so every client shows them.
                "version": "1.2",
                "msteams": {"width": "Full"},
                "body": _body(card),
            },
        }
        if card.link:
            button = {"type": "Action.OpenUrl", "title": card.link_label, "url": card.link}
            attachment["content"]["actions"] = [button]
        message = {"type": "message", "attachments": [attachment]}
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read the status of the inner request from the text of a 2xx response.

        A success is 202, with which a workflow answers before it runs, or what the "Response"
        action of the workflow sends; the older connectors answered ``1``.
        https://learn.microsoft.com/azure/connectors/connectors-native-reqres
        """
        if not is_2xx(response):
            return NO_HINT
        found = _INNER_STATUS.search(response.body)
        if found and int(found[1]) in ERROR_STATUSES:
            return ResponseHint(status=int(found[1]))
        return NO_HINT if response.status == 202 else parse_acknowledgement(response)


def _body(card: Card) -> list[Part]:
    colour = _COLOUR_RESOLVED if card.is_resolved else _COLOURS[card.severity]
    style = {"size": "Large", "weight": "Bolder", "color": colour}
    title = card.title_pieces(TITLE_MAX - utf16_length(card.emoji) - 1)
    first, *others = _runs(title, **style)
    body = [_block({**first, "text": f"{card.emoji} {first['text']}"}, *others)]
    if card.body:
        body.append(_block(*_runs(card.body_pieces(CUSTOM_TEXT_MAX))))
    facts = [
        ("Time", card.readable_time),
        *card.fit_facts(VALUE_MAX),
        *card.fit_inspect_fields(INSPECT_MAX, VALUE_MAX),
    ]
    for name, value in facts:
        font = {"fontType": "Monospace"} if is_command(name) else {}
        runs = _run(f"{name}: ", weight="Bolder"), _run(value, **font)
        body.append(_block(*runs, spacing="Small"))
    body += [_output_container(output) for output in card.output]
    notes = " · ".join(truncate(note, NOTE_MAX) for note in card.notes)
    return [*body, _block(_run(notes, size="Small", isSubtle=True), separator=True)]


def _output_container(output: Output) -> Part:
    """Return container output in a fixed width; only the end of a long text."""
    shown = output.fit(OUTPUT_MAX[output.title])
    return {
        "type": "Container",
        "style": "emphasis",
        "items": [
            _block(_run(output.title, weight="Bolder")),
            _block(_run(shown, fontType="Monospace", size="Small"), spacing="Small"),
        ],
    }


def _runs(pieces: Iterable[Piece], **style: object) -> list[Part]:
    """Return a run for each piece. Only the links of the configuration are links."""
    return [
        _run(text, **style, selectAction={"type": "Action.OpenUrl", "url": text})
        if kind is PieceKind.LINK
        else _run(text, **style)
        for kind, text in pieces
    ]


def _block(*runs: Part, **style: object) -> Part:
    return {"type": "RichTextBlock", "inlines": runs, **style}


def _run(text: str, **style: object) -> Part:
    return {"type": "TextRun", "text": _FUNCTION.sub("{ {", text), **style}
