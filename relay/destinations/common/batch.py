"""Joins many notifications in one body: a JSON array of their documents."""

from collections.abc import Sequence
from dataclasses import replace

from relay.core.exchange import Request
from relay.destinations.common import cloudevents

_CONTENT_TYPE = "Content-Type"
_BATCH_TYPES = {cloudevents.STRUCTURED_TYPE: cloudevents.BATCH_TYPE}
"""The content type of an array, if it differs from the type of its items."""


def join_bodies(requests: Sequence[Request]) -> Request:
    """Return one request that holds the bodies of all requests, of which there is at least one.

    The requests have the same URL and headers. A single body becomes an array too, so that
    receivers have to read one form only. The bodies are not changed.
    """
    first, *_ = requests
    content_type = first.headers[_CONTENT_TYPE]
    return replace(
        first,
        body=b"[" + b",".join(request.body for request in requests) + b"]",
        headers={**first.headers, _CONTENT_TYPE: _BATCH_TYPES.get(content_type, content_type)},
    )
