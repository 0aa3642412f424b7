"""Alerts for a Prometheus Alertmanager (API v2).

Labels identify an alert: sending the same labels again repeats the same alert
(https://prometheus.io/docs/alerting/latest/alerts_api/). So the labels say what the alert is about,
where that is and what kind of trouble it has. Everything that differs between the events of the
same trouble is in annotations.

The alert of an incident has the labels of the event that opened it. It ends by itself `OPEN_NS`
after it was sent, and relay sends it again long before that for as long as the incident is open
(see `relay.delivery.refresh`). When the incident is over, the alert is sent with its end, which has
passed: Alertmanager calls it resolved. So the alert of a container that is down keeps firing, and
no alert fires for ever because relay cannot report its end.

An event that belongs to no incident becomes an alert that Alertmanager resolves by itself after
``resolve_timeout`` (by default five minutes).

Names, labels and images are hostile. Alertmanager never evaluates templates in them and escapes
them in mail, but not for Slack (``notify/slack/slack.go``). There a mention stands between ``<``
and ``>``, which are replaced, and an address becomes a link by its ``://``: see `defuse_links`.
Links of the configuration remain.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import time_ns
from typing import ClassVar, Literal

from msgspec.structs import replace

from relay.config.errors import ConfigIssue
from relay.core.event import Origin, format_rfc3339
from relay.core.exchange import Request, Response, ResponseHint
from relay.core.incident import Audience, IncidentReport
from relay.core.text import defuse_links, escape_brackets, truncate_forwarded
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.included import get_included
from relay.destinations.common.pieces import FORWARDED, join_forwarded
from relay.destinations.common.responses import parse_acknowledgement
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.webhook import append_path, warn_of_path

# All limits are our own, in UTF-16 units: Alertmanager has none, but it keeps every alert in memory
# and sends whole groups of alerts to others. One alert is at most 64 KiB.
LABEL_MAX = 255
"""The value of a label: longer than any name, and still one line in a list."""
SUMMARY_MAX = 1_024
"""What PagerDuty accepts, the strictest of the services that Alertmanager sends summaries to."""
VALUE_MAX = 512
"""Any other annotation, and each fact of the description."""
CUSTOM_TEXT_MAX = 4_096
"""The text of the configuration."""
OUTPUT_MAX = {LOGS: 4_096, HEALTH: 2_048}
"""All output of each kind."""
INSPECT_MAX = 4_096
"""All inspect fields together."""

OPEN_NS = 15 * 60 * 10**9
"""The alert of an open incident ends this long after it was sent: three refreshes may fail, or
clocks differ by minutes, before Alertmanager calls it resolved."""

_OUTPUT_NAMES = {LOGS: "logs", HEALTH: "health_check"}


class AlertmanagerDestination(ServiceDestination):
    """A Prometheus Alertmanager."""

    audience = Audience.ALERTS
    max_refreshed = 100

    clock: ClassVar[Callable[[], int]] = time_ns
    """The wall clock, in nanoseconds since 1970."""

    type: Literal["alertmanager"] = "alertmanager"

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a URL to which the path of the API is appended a second time."""
        return warn_of_path(self.url, r"/api/v[12](/|$)")

    @property
    def endpoint(self) -> str:
        """The URL at which the API accepts alerts."""
        return append_path(super().endpoint, "/api/v2/alerts")

    def render(self, card: Card) -> Request:
        """Return a list of one alert, firing or resolved."""
        report = card.incident
        times = _event_times(card) if report is None else self._incident_times(report)
        alert = {"labels": _labels(card), "annotations": _annotations(card), **times}
        if card.link:  # Alertmanager shows it as the "Source" of the alert
            alert["generatorURL"] = card.link
        return self.json_request([alert])

    def _incident_times(self, report: IncidentReport) -> dict[str, str]:
        """Return when an incident began, and when it ends.

        An end before the beginning would be refused (``Validate``, ``model/alert.go`` in
        https://github.com/prometheus/common); one in the future would not resolve the alert. The
        times of an incident are by the engine's clock, which may differ from relay's.
        """
        now_ns = type(self).clock()
        ends_ns = now_ns + OPEN_NS if report.ended_ns is None else min(report.ended_ns, now_ns)
        return {
            "startsAt": format_rfc3339(report.started_ns),
            "endsAt": format_rfc3339(max(ends_ns, report.started_ns)),
        }

    def join_refresh(self, requests: Sequence[Request]) -> Request:
        """Return one request with the alerts of all requests, of which there is at least one."""
        first, *_ = requests
        alerts = (request.body.removeprefix(b"[").removesuffix(b"]") for request in requests)
        return replace(first, body=b"[" + b",".join(alerts) + b"]")

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Check that a 2xx reports no error.

        Alertmanager answers with an empty body (``postAlerts``, ``api/v2/openapi.yaml`` in
        https://github.com/prometheus/alertmanager); servers with the same API answer with JSON.
        """
        return parse_acknowledgement(response)


def _event_times(card: Card) -> dict[str, str]:
    """Return the times of an alert about events.

    One that fires has no end: if it were delivered late, it would be over before it arrives.
    """
    times = {"startsAt": format_rfc3339(card.event.time_ns)}
    if card.is_resolved:
        times["endsAt"] = format_rfc3339(max(event.time_ns for event in card.notification.events))
    return times


def _labels(card: Card) -> dict[str, str]:
    opening = card.opening
    event, attributes = opening.event, opening.event.actor.attributes
    labels = {
        "alertname": opening.route,
        "severity": opening.severity,
        "type": event.type,
        "action": event.action,
        "cause": event.cause,
        "engine": event.engine,
        "instance": event.host,
        "container" if event.type == "container" else "name": event.actor.name or event.actor.id,
        "compose_project": attributes.get("com.docker.compose.project"),
        "compose_service": attributes.get("com.docker.compose.service"),
        "swarm_service": attributes.get("com.docker.swarm.service.name"),
    }
    # The values are changed as little as possible, so that they can be matched.
    return _drop_blank(
        {name: truncate_forwarded(value or "", LABEL_MAX) for name, value in labels.items()}
    )


def _annotations(card: Card) -> dict[str, str]:
    details = {
        name: truncate_forwarded(value or "", VALUE_MAX) for name, value in _details(card).items()
    }
    output = {
        _OUTPUT_NAMES[it.title]: defuse_links(it.fit(OUTPUT_MAX[it.title], escape_brackets))
        for it in card.output
    }
    # One line per field: a path is not a valid name of an annotation.
    each = card.share_inspect(INSPECT_MAX) - 1
    inspected = "\n".join(truncate_forwarded(line, each) for line in card.inspect_lines(each))
    return {
        "summary": join_forwarded(card.title_pieces(SUMMARY_MAX, FORWARDED)),
        **_drop_blank({"description": _description(card), **details}),
        **output,
        **_drop_blank({"inspect": inspected}),
    }


def _description(card: Card) -> str:
    if card.body:
        return join_forwarded(card.body_pieces(CUSTOM_TEXT_MAX, FORWARDED))
    # The line breaks are relay's: `truncate` leaves none in a value, so no value can look like
    # another fact.
    return "\n".join(
        f"{name}: {truncate_forwarded(value, VALUE_MAX)}" for name, value in card.facts
    )


def _details(card: Card) -> Mapping[str, str | None]:
    event, notification = card.event, card.notification
    included = get_included(notification)
    details = {
        "id": event.actor.id,
        "image": event.actor.image,
        "exit_code": None if event.exit_code is None else str(event.exit_code),
        "health": event.health,
        "origin": None if event.origin is Origin.LIVE else event.origin,
        "count": str(notification.count) if notification.count > 1 else None,
        "held_back": str(notification.suppressed) if notification.suppressed else None,
        "not_included": included.missing if included else None,
        "no_link": card.link_fault,
        "event_id": event.id,
        "notification_id": notification.id,
    }
    if (report := card.incident) is None:
        return details
    # Alertmanager keeps the annotations that it got last, so a refresh must have the same ones.
    return {
        **details,
        "notification_id": None,
        "count": str(report.total) if report.total > 1 else None,
        "incident_id": report.id,
        "state": report.condition.state,
        "resolution": report.resolution,
        "severity": report.severity if report.severity != report.opening_severity else None,
    }


def _drop_blank(texts: Mapping[str, str]) -> dict[str, str]:
    """Drop blank texts: Alertmanager treats an empty label as absent."""
    return {name: text for name, text in texts.items() if text.strip()}
