from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from relay.config import (
    Config,
    DockerEngineConfig,
    IngestConfig,
    Match,
    Rate,
    RetryConfig,
    Route,
    StoreConfig,
)
from relay.destinations.console import ConsoleDestination
from relay.destinations.http import HttpDestination
from relay.destinations.slack import SlackDestination
from tests.unit.config.samples import PASTE_MISTAKES

CONSOLE = ConsoleDestination()


"""What happens to values that are put into variables and files, with a message for each."""


def _retry(**entry: object) -> RetryConfig:
    return RetryConfig.model_validate(entry)


def _headers(entry: Mapping[str, object]) -> HttpDestination:
    return HttpDestination.model_validate({"url": "https://x", "headers": entry})


def test_defaults() -> None:
    """The defaults are those in the documentation."""
    config = Config(destinations={"a": CONSOLE}, routes=(Route(name="all", to=("a",)),))
    assert config.engines == {"local": DockerEngineConfig()}
    assert config.ingest.buffer == 64 * 1024 * 1024
    assert config.store == StoreConfig(path=None, max_size=2**30, when_full="drop-oldest")
    assert config.docker_engines["local"].start_from == "now"
    assert config.log.level == "info"
    assert CONSOLE.concurrency == 8
    assert CONSOLE.rate_limit is None
    assert CONSOLE.retry == RetryConfig(
        initial=timedelta(seconds=1), max=timedelta(minutes=10), max_age=timedelta(hours=72)
    )
    assert config.routes[0] == Route(name="all", match=Match(), to=("a",), stop=False, drop=False)


def test_frozen() -> None:
    """A configuration cannot be changed."""
    with pytest.raises(ValidationError):
        CONSOLE.concurrency = 9  # type: ignore[misc]


def test_secrets_are_hidden() -> None:
    """No repr and no validation error shows a secret."""
    secret = "https://example.com/CANARY"
    found = HttpDestination(url=SecretStr(secret), headers={"Authorization": SecretStr("CANARY")})
    assert found.url.get_secret_value() == secret
    assert "CANARY" not in repr(found) + str(found)
    with pytest.raises(ValidationError) as caught:
        SlackDestination.model_validate({"url": "CANARY", "concurrency": 0})
    assert "CANARY" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(("buffer", "wanted"), [("1MiB", 2**20), (65536, 65536), ("65536", 65536)])
def test_buffer_size(buffer: object, wanted: int) -> None:
    """The buffer is a size; a number without a unit is bytes."""
    assert IngestConfig.model_validate({"buffer": buffer}).buffer == wanted


@pytest.mark.parametrize("buffer", [64, "64", "1TiB", "999GiB", True, None, -1])
def test_invalid_buffer_size(buffer: object) -> None:
    """A buffer that is too small, too large or not a size is refused."""
    with pytest.raises(ValidationError):
        IngestConfig.model_validate({"buffer": buffer})


def test_store_path() -> None:
    """The path of the store is a path; an empty one is refused."""
    assert StoreConfig.model_validate({"path": "/x/y"}).path == Path("/x/y")
    with pytest.raises(ValidationError, match="is empty"):
        StoreConfig.model_validate({"path": ""})


@pytest.mark.parametrize(
    ("size", "wanted"), [("1MiB", 2**20), ("2GB", 2 * 10**9), (2**20, 2**20), ("1024GiB", 2**40)]
)
def test_store_size(size: object, wanted: int) -> None:
    """The store's limit is a size; a number without a unit is bytes."""
    assert StoreConfig.model_validate({"max_size": size}).max_size == wanted


@pytest.mark.parametrize("size", [2**20 - 1, "1kB", "1025GiB", 0, True, None, -1, "much"])
def test_invalid_store_size(size: object) -> None:
    """A limit that is too small, too large or not a size is refused."""
    with pytest.raises(ValidationError):
        StoreConfig.model_validate({"max_size": size})


@pytest.mark.parametrize("what", ["drop-oldest", "drop-new"])
def test_store_when_full(what: str) -> None:
    """A full store drops its oldest deliveries or the new ones."""
    assert StoreConfig.model_validate({"when_full": what}).when_full == what


@pytest.mark.parametrize("what", ["drop", "drop_new", "", None, True])
def test_invalid_store_when_full(what: object) -> None:
    """Any other value is refused."""
    with pytest.raises(ValidationError):
        StoreConfig.model_validate({"when_full": what})


def test_retry() -> None:
    """Durations are written with their units."""
    found = _retry(initial="500ms", max="5m", max_age="1h30m")
    assert found.initial == timedelta(milliseconds=500)
    assert found.max == timedelta(minutes=5)
    assert found.max_age == timedelta(minutes=90)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"initial": "0s"}, "is not more than 0s"),
        ({"initial": 5}, "has no unit"),
        ({"initial": "15m"}, "'max' is shorter than 'initial'"),
        ({"initial": "1m", "max": "2m", "max_age": "1s"}, "'max_age' is shorter than 'initial'"),
        ({"max": ["1s"]}, "valid"),
    ],
)
def test_invalid_retry(entry: dict[str, object], message: str) -> None:
    """Waits that contradict each other are refused."""
    with pytest.raises(ValidationError, match=message):
        _retry(**entry)


def test_short_age() -> None:
    """`max_age` may be shorter than the longest wait."""
    assert _retry(max_age="5m").max == timedelta(minutes=10)


@pytest.mark.parametrize("concurrency", [0, 257, True, "x", 1.5])
def test_concurrency(concurrency: object) -> None:
    """Concurrency is a whole number from 1 to 256."""
    assert ConsoleDestination(concurrency=256).concurrency == 256
    with pytest.raises(ValidationError):
        ConsoleDestination.model_validate({"concurrency": concurrency})


@pytest.mark.parametrize(
    ("rate", "wanted"), [("5/min", Rate(5, 60.0)), (Rate(1, 1.0), Rate(1, 1.0))]
)
def test_rate_limit(rate: object, wanted: Rate) -> None:
    """A rate limit is written as a count and a unit of time."""
    assert ConsoleDestination.model_validate({"rate_limit": rate}).rate_limit == wanted


@pytest.mark.parametrize("rate", [5, {"count": 1, "per_s": 1.0}, [], "x"])
def test_invalid_rate_limit(rate: object) -> None:
    """Any other value is refused."""
    with pytest.raises(ValidationError):
        ConsoleDestination.model_validate({"rate_limit": rate})


@pytest.mark.parametrize("url", ["http://x", "https://u:p@x:1/y?z", "http://[::1]:8080/"])
def test_webhook_url(url: str) -> None:
    """A webhook URL is http or https."""
    assert SlackDestination.model_validate({"url": url}).url.get_secret_value() == url


@pytest.mark.parametrize(
    "url", ["x", "ftp://x", "https://", "https:///x", "http://x:y", "http://a\tb"]
)
def test_invalid_webhook_url(url: str) -> None:
    """Any other URL, or one without a host, is refused."""
    with pytest.raises(ValidationError, match="is not an http or https URL"):
        SlackDestination.model_validate({"url": url})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://a b", "holds a blank"),
        ("https://h:0/", "has the port 0"),
        (f"https://{'a' * 64}.example/", "longer than 63 characters"),
        ("https://a..b/", "a part of it is empty"),
        (f"https://{'.'.join(['a' * 60] * 5)}/", "longer than 253 characters"),
        ("https://日本:pw@h/", "not Latin-1: write 'basic_auth' instead"),
        ("https://me:日本@h/", "not Latin-1"),
        ("https://a%3Ab:pw@h/", "a user's name with a ':'"),
        *PASTE_MISTAKES,
    ],
)
def test_webhook_url_that_nothing_can_be_sent_to(url: str, message: str) -> None:
    """A URL that the HTTP client or the resolver cannot use is refused, and so says the message."""
    with pytest.raises(ValidationError, match=message):
        SlackDestination.model_validate({"url": url})


def test_a_user_in_the_url_excludes_an_authorization() -> None:
    """A user in the URL and an Authorization header are refused: the HTTP client sends only one."""
    entry = {"url": "https://me:pw@x", "headers": {"authorization": "Bearer x"}}
    with pytest.raises(ValidationError, match="keep one of them"):
        HttpDestination.model_validate(entry)


def test_headers() -> None:
    """Header values are texts; a number is used as it is written."""
    found = _headers({"Authorization": "Bearer ä", "X-Number": 5})
    assert found.headers["X-Number"].get_secret_value() == "5"
    assert found.headers["Authorization"].get_secret_value() == "Bearer ä"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is not the name of a header"),
        ("a b", "is not the name of a header"),
        ("a:b", "is not the name of a header"),
        ("ä", "is not the name of a header"),
        ("a\n", "is not the name of a header"),
        ("Content-Type", "relay sets itself"),
        ("content-LENGTH", "relay sets itself"),
        ("HOST", "relay sets itself"),
        ("user-agent", "relay sets itself"),
        ("Webhook-Id", "relay sets itself"),
        ("webhook-anything", "relay sets itself"),
        ("Transfer-Encoding", "relay sets itself"),
    ],
)
def test_header_names(name: str, message: str) -> None:
    """Names are tokens of RFC 9110, except those that relay sets itself, in any letter case."""
    with pytest.raises(ValidationError, match=message):
        _headers({name: "x"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a\rb", "holds 2 lines"),
        ("a\nb\r\nc", "holds 3 lines"),
        ("a\n", "ends with a line break"),
        *((value, "holds a control character") for value in ("a\0b", "a\x1bb", "a\x7fb", "\t")),
    ],
)
def test_header_values(value: str, message: str) -> None:
    """A value with a line break or another control character is refused."""
    with pytest.raises(ValidationError, match=message):
        _headers({"x": value})


def test_headers_are_distinct() -> None:
    """Two headers that differ in letter case only are refused."""
    with pytest.raises(ValidationError, match="is the header 'X-A' again"):
        _headers({"X-A": "1", "x-a": "2"})


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "ä", "x" * 65, "a\n"])
def test_names(name: str) -> None:
    """Names have only characters that are safe in metrics, logs and commands."""
    assert Route(name="A9._-", drop=True).name == "A9._-"
    with pytest.raises(ValidationError, match="is not a name"):
        Route(name=name, drop=True)
