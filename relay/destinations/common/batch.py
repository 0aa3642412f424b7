"""Many notifications in one body: a JSON array of the documents that each would be sent as."""

from collections.abc import Sequence
from dataclasses import replace

from relay.core.exchange import Request
from relay.destinations.common import cloudevents

_CONTENT_TYPE = "Content-Type"
_BATCH_TYPES = {cloudevents.STRUCTURED_TYPE: cloudevents.BATCH_TYPE}
"""What an array is called, where it is called otherwise than one of what it holds."""


def join_bodies(requests: Sequence[Request]) -> Request:
    """One request for what these, at least one, would be sent as one by one.

    They go to the same place with the same headers. One alone is an array, too, so that a receiver
    has to know one form only. The bodies are taken as they are.
    """
    first, *_ = requests
    kind = first.headers[_CONTENT_TYPE]
    return replace(
        first,
        body=b"[" + b",".join(request.body for request in requests) + b"]",
        headers={**first.headers, _CONTENT_TYPE: _BATCH_TYPES.get(kind, kind)},
    )
