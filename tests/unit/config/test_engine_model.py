"""The model of an engine's configuration."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from relay.config import (
    DockerEngineConfig,
    TlsConfig,
)
from tests.unit.config.samples import PASTE_MISTAKES


def _engine(**entry: object) -> DockerEngineConfig:
    return DockerEngineConfig.model_validate(entry)


@pytest.mark.parametrize(
    "url",
    [
        "unix:///run/docker.sock",
        "tcp://edge:2376",
        "tcp://[::1]:2375",
        "http://edge",
        "https://edge:1",
        "ssh://me@edge",
    ],
)
def test_engine_url(url: str) -> None:
    """An engine URL has one of the forms of the docker command."""
    assert _engine(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "edge",
        "unix://run/docker.sock",
        "unix://",
        "unix:///",
        "tcp://",
        "tcp://x:99999",
        "tcp://x:y",
        "http://[::1",
        "npipe:////./pipe/docker",
        "tcp://a b",
    ],
)
def test_invalid_engine_url(url: str) -> None:
    """Any other URL is refused."""
    with pytest.raises(ValidationError, match="is not the URL of an engine"):
        _engine(url=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("/run/docker.sock", "is a path: write unix:// before it"),
        ("tcp://edge", "has no port: write tcp://HOST:2376 with TLS, or tcp://HOST:2375"),
        ("http://edge:0", "has the port 0"),
        (f"https://{'a' * 64}.example", "names a host that cannot exist"),
        ("tcp://edge..example:2376", "names a host that cannot exist"),
        (f"unix:///{'a' * 107}", "is too long: a socket's path may have 107 bytes"),
        *PASTE_MISTAKES,
    ],
)
def test_engine_url_that_cannot_be_reached(url: str, message: str) -> None:
    """A URL to which no connection can be made is refused, and the message says why."""
    with pytest.raises(ValidationError, match=message):
        _engine(url=url)


def test_url_and_context() -> None:
    """An engine has a URL or a context, not both."""
    assert _engine(context="far").context == "far"
    with pytest.raises(ValidationError, match="exclude each other"):
        _engine(context="far", url="ssh://far")


@pytest.mark.parametrize(
    "engine",
    [
        {"headers": {"X-Key": "a", "x-key": "b"}},
        {"headers": {"Host": "a"}},
        {"headers": {"X Key": "a"}},
        {"headers": {"X-Key": "a\nb"}},
        {"headers": {"authorization": "a"}, "bearer_token_file": "token"},
        {"headers": {"Authorization": "a"}, "url": "https://me:pw@proxy"},
        {"bearer_token_file": "token", "url": "tcp://me:pw@proxy:1"},
        {"bearer_token_file": ""},
    ],
)
def test_invalid_authorization_of_an_engine(engine: dict[str, object]) -> None:
    """There is one authorization at most, and each header can be sent."""
    with pytest.raises(ValidationError):
        DockerEngineConfig.model_validate(engine)


def test_authorization_of_an_engine() -> None:
    """Headers go with any URL; the user of an ssh URL is not sent over HTTP."""
    engine = DockerEngineConfig(
        url="ssh://me@there",
        headers={"X-Key": SecretStr("a")},
        bearer_token_file=Path("token"),
    )
    assert engine.headers["X-Key"].get_secret_value() == "a"


@pytest.mark.parametrize("url", ["tcp://x:1", "https://x"])
def test_tls(url: str) -> None:
    """TLS can be set for tcp and https URLs."""
    tls = TlsConfig(ca_file=Path("ca"), cert_file=Path("cert"), key_file=Path("key"))
    assert DockerEngineConfig(url=url, tls=tls).tls == tls


@pytest.mark.parametrize("url", [None, "unix:///x", "http://x", "ssh://x"])
def test_tls_for_other_urls(url: str | None) -> None:
    """TLS for any other URL is refused."""
    with pytest.raises(ValidationError, match="is for a tcp:// or https:// 'url' only"):
        DockerEngineConfig(url=url, tls=TlsConfig())


@pytest.mark.parametrize("only", ["cert_file", "key_file"])
def test_half_a_certificate(only: str) -> None:
    """A certificate without its key, or a key without its certificate, is refused."""
    with pytest.raises(ValidationError, match="go together"):
        TlsConfig.model_validate({only: "x"})


@pytest.mark.parametrize("host", ["", " ", "a\nb", "x" * 256, "\x1b[1m"])
def test_host_is_readable(host: str) -> None:
    """The host name is one readable line."""
    assert _engine(host="edge öne").host == "edge öne"
    with pytest.raises(ValidationError, match="is not one readable line"):
        _engine(host=host)


@pytest.mark.parametrize(
    ("start_from", "wanted"),
    [
        ("now", "now"),
        ("oldest", "oldest"),
        ("10m", timedelta(minutes=10)),
        (timedelta(5), timedelta(5)),
    ],
)
def test_start_from(start_from: object, wanted: object) -> None:
    """The first start begins now, with the oldest event, or at a time before now."""
    assert _engine(start_from=start_from).start_from == wanted


@pytest.mark.parametrize("start_from", ["then", 10, "10", None, [], True])
def test_invalid_start_from(start_from: object) -> None:
    """Any other value is refused."""
    with pytest.raises(ValidationError):
        _engine(start_from=start_from)
