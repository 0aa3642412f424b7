"""Many notifications in one body, as receivers read it."""

import json as stdlib

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from relay.config import HttpDestination
from relay.core.exchange import Request
from relay.destinations.catalog import renderer
from relay.destinations.common import cloudevents, json_document
from relay.destinations.common.batch import together
from tests.unit.destinations.samples import EVERY_KIND
from tests.unit.destinations.test_catalog import never


def destination(**parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": "https://hooks.example/x", "batch": {}, **parts})


def batched(to: HttpDestination, count: int = len(EVERY_KIND)) -> Request:
    """The first of all kinds of notifications in one request."""
    render = renderer(to, (), colour=False, failed=never)
    return together([render(each) for each in EVERY_KIND[:count]])


@pytest.mark.parametrize("count", [1, 2, len(EVERY_KIND)])
def test_json_is_an_array_of_documents(count: int) -> None:
    """Each as it would be sent by itself, in their order; one alone is an array, too."""
    request = batched(destination(), count)
    documents = [stdlib.loads(json_document.document(each)) for each in EVERY_KIND[:count]]
    assert stdlib.loads(request.body) == documents
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("count", [1, len(EVERY_KIND)])
def test_cloudevents_are_in_batch_mode(count: int) -> None:
    """The content type says so, and the official SDK reads each event of the array."""
    request = batched(destination(format="cloudevents"), count)
    assert request.headers["Content-Type"].startswith("application/cloudevents-batch+json;")
    one = {"Content-Type": cloudevents.STRUCTURED}
    events = [
        from_http_event(HTTPMessage(one, stdlib.dumps(each).encode()))
        for each in stdlib.loads(request.body)
    ]
    assert [each.get_id() for each in events] == [each.id for each in EVERY_KIND[:count]]
    assert [each.get_data() for each in events] == [
        stdlib.loads(json_document.document(each)) for each in EVERY_KIND[:count]
    ]


def test_goes_where_each_would_go() -> None:
    """With what the configuration adds to every request."""
    parts = {"method": "PUT", "query": {"a": "b"}, "headers": {"X-To": "y"}, "bearer_token": "t"}
    request = batched(destination(**parts))
    assert (request.url, request.method) == ("https://hooks.example/x?a=b", "PUT")
    assert (request.headers["X-To"], request.headers["Authorization"]) == ("y", "Bearer t")
