"""Batches: many notifications in one body, as receivers read it."""

import json as stdlib

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from relay.core.exchange import Request
from relay.core.zone import UTC_ZONE
from relay.destinations.common.document import STRUCTURED_TYPE, encode_document, join_bodies
from relay.destinations.http import HttpDestination
from tests.unit.destinations.samples import SAMPLE_NOTIFICATIONS
from tests.unit.destinations.test_catalog import fail_on_template_error


def destination(**parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": "https://hooks.example/x", "batch": {}, **parts})


def batch_request(to: HttpDestination, count: int = len(SAMPLE_NOTIFICATIONS)) -> Request:
    """The first notifications of the samples in one request."""
    render = to.build_renderer((), fail_on_template_error, colour=False, zone=UTC_ZONE)
    return join_bodies([render(each) for each in SAMPLE_NOTIFICATIONS[:count]])


@pytest.mark.parametrize("count", [1, 2, len(SAMPLE_NOTIFICATIONS)])
def test_json_is_an_array_of_documents(count: int) -> None:
    """The array has the documents unchanged and in order, even if there is only one."""
    request = batch_request(destination(), count)
    documents = [stdlib.loads(encode_document(each)) for each in SAMPLE_NOTIFICATIONS[:count]]
    assert stdlib.loads(request.body) == documents
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("count", [1, len(SAMPLE_NOTIFICATIONS)])
def test_cloudevents_are_in_batch_mode(count: int) -> None:
    """The content type declares batch mode, and the official SDK reads each event of the array."""
    request = batch_request(destination(format="cloudevents"), count)
    assert request.headers["Content-Type"].startswith("application/cloudevents-batch+json;")
    one = {"Content-Type": STRUCTURED_TYPE}
    events = [
        from_http_event(HTTPMessage(one, stdlib.dumps(each).encode()))
        for each in stdlib.loads(request.body)
    ]
    assert [each.get_id() for each in events] == [each.id for each in SAMPLE_NOTIFICATIONS[:count]]
    assert [each.get_data() for each in events] == [
        stdlib.loads(encode_document(each)) for each in SAMPLE_NOTIFICATIONS[:count]
    ]


def test_goes_where_each_would_go() -> None:
    """URL and headers are those of the single requests."""
    parts = {"method": "PUT", "query": {"a": "b"}, "headers": {"X-To": "y"}, "bearer_token": "t"}
    request = batch_request(destination(**parts))
    assert (request.url, request.method) == ("https://hooks.example/x?a=b", "PUT")
    assert (request.headers["X-To"], request.headers["Authorization"]) == ("y", "Bearer t")
