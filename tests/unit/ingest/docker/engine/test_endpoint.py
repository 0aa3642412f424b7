"""Finding the endpoint of an engine."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from relay.config import DockerEngineConfig
from relay.ingest.docker.engine.endpoint import (
    DEFAULT_SOCKET,
    Endpoint,
    EndpointError,
    TlsFiles,
    resolve_endpoint,
    resolve_endpoints,
)

SOCKET = Endpoint(DEFAULT_SOCKET, None, None)
CERTIFICATES = TlsFiles(Path("/c/ca.pem"), Path("/c/cert.pem"), Path("/c/key.pem"))


def url(text: str, tls: TlsFiles | None = None) -> Endpoint:
    return Endpoint(text, None, tls)


def context(name: str) -> Endpoint:
    return Endpoint(None, name, None)


@pytest.mark.parametrize(
    ("config", "environ", "current", "expected"),
    [
        ({}, {}, "", SOCKET),
        ({}, {}, "default", SOCKET),
        ({}, {}, "colima", context("colima")),
        ({}, {"DOCKER_CONTEXT": "edge"}, "colima", context("edge")),
        ({}, {"DOCKER_CONTEXT": "default"}, "colima", SOCKET),
        ({}, {"DOCKER_CONTEXT": ""}, "colima", context("colima")),
        ({}, {"DOCKER_HOST": "tcp://h:1", "DOCKER_CONTEXT": "edge"}, "", url("tcp://h:1")),
        ({}, {"DOCKER_HOST": ""}, "", SOCKET),
        ({"context": "lab"}, {"DOCKER_HOST": "tcp://h:1"}, "colima", context("lab")),
        ({"context": "default"}, {"DOCKER_HOST": "tcp://h:1"}, "colima", SOCKET),
        ({"url": "unix:///x"}, {"DOCKER_HOST": "tcp://h:1"}, "colima", url("unix:///x")),
    ],
)
def test_the_order_of_the_sources(
    config: dict[str, str], environ: dict[str, str], current: str, expected: Endpoint
) -> None:
    """The configuration, DOCKER_HOST, DOCKER_CONTEXT, the selected context, the default socket."""
    assert resolve_endpoint(DockerEngineConfig(**config), environ, current) == expected


@pytest.mark.parametrize(
    ("environ", "tls"),
    [
        ({"DOCKER_HOST": "tcp://h:1"}, None),
        ({"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": ""}, None),
        ({"DOCKER_HOST": "unix:///x", "DOCKER_TLS_VERIFY": "1"}, None),
        (
            {"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"},
            CERTIFICATES,
        ),
        (
            {"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "1", "HOME": "/home/me"},
            TlsFiles(*(Path("/home/me/.docker") / f"{name}.pem" for name in ("ca", "cert", "key"))),
        ),
    ],
)
def test_tls_from_the_environment(environ: dict[str, str], tls: TlsFiles | None) -> None:
    """With DOCKER_TLS_VERIFY and TCP: the files in DOCKER_CERT_PATH, else in ~/.docker."""
    assert resolve_endpoint(DockerEngineConfig(), environ, "") == url(environ["DOCKER_HOST"], tls)


def test_tls_from_the_configuration() -> None:
    """Its own files; those of the environment apply to DOCKER_HOST only."""
    files: dict[str, Any] = {"ca_file": "/c/ca.pem"}
    files |= {"cert_file": "/c/cert.pem", "key_file": "/c/key.pem"}
    environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/other"}
    secured = DockerEngineConfig.model_validate({"url": "tcp://h:2376", "tls": files})
    assert resolve_endpoint(secured, environ, "") == url("tcp://h:2376", CERTIFICATES)
    plain = DockerEngineConfig(url="tcp://h:2375")
    assert resolve_endpoint(plain, environ, "") == url("tcp://h:2375")


def test_an_endpoint_reads_as_its_url_or_context() -> None:
    """An endpoint is shown as its URL or as its context."""
    assert str(url("tcp://h:1")) == "tcp://h:1"
    assert str(context("lab")) == "docker context lab"


def test_docker_host_without_a_scheme_is_tcp() -> None:
    """A DOCKER_HOST without a scheme is a TCP address, as docker reads it."""
    assert resolve_endpoint(DockerEngineConfig(), {"DOCKER_HOST": "h:2375"}, "") == url(
        "tcp://h:2375"
    )


def test_docker_host_with_another_scheme_is_rejected() -> None:
    """The error for another scheme is one line that says what to do."""
    with pytest.raises(EndpointError, match="DOCKER_HOST"):
        resolve_endpoint(DockerEngineConfig(), {"DOCKER_HOST": "npipe:////./pipe/docker"}, "")


def test_a_password_is_not_shown() -> None:
    """An endpoint is shown with its user and without its password."""
    shown = str(url("https://me:secret@h:2376"))
    assert shown == "https://me@h:2376"


@pytest.mark.parametrize(
    ("docker_host", "message"),
    [
        ("/run/docker.sock", "DOCKER_HOST is a path: write unix:// before it"),
        ("tcp://h", "DOCKER_HOST has no port: write tcp://HOST:2376 with TLS, or tcp://HOST:2375"),
        ("h", "DOCKER_HOST has no port"),
        ("unix:///run/docker.sock ", "DOCKER_HOST begins or ends with a blank"),
        ("'tcp://h:2375'", "DOCKER_HOST has quotes around it"),
        (f"tcp://{'a' * 64}:2375", "DOCKER_HOST names a host that cannot exist"),
    ],
)
def test_a_docker_host_that_cannot_be_reached(docker_host: str, message: str) -> None:
    """The message says what to write, without the value, which may hold a password."""
    with pytest.raises(EndpointError) as caught:
        resolve_endpoint(DockerEngineConfig(), {"DOCKER_HOST": docker_host}, "")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("; or write the engine's 'url' into the configuration")


def make_context(home: Path, name: str) -> None:
    """Make a context as ``docker context create`` does."""
    folder = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": name}))


@pytest.mark.parametrize(
    ("config", "variables"),
    [({"context": "lab"}, {}), ({}, {"DOCKER_CONTEXT": "lab"})],
)
def test_an_unknown_context(
    tmp_path: Path, config: dict[str, str], variables: dict[str, str]
) -> None:
    """The message lists the contexts that there are; one that is there is used."""
    engines, environ = {"here": DockerEngineConfig(**config)}, {"HOME": str(tmp_path), **variables}
    with pytest.raises(EndpointError) as caught:
        resolve_endpoints(engines, environ)
    expected = "engine here: there is no docker context 'lab'; there are: default"
    assert str(caught.value) == expected
    make_context(tmp_path, "edge")
    (tmp_path / ".docker/contexts/meta/broken").mkdir()
    (tmp_path / ".docker/contexts/meta/broken/meta.json").write_text("[]")
    with pytest.raises(EndpointError) as caught:
        resolve_endpoints(engines, environ)
    assert str(caught.value) == f"{expected}, 'edge'"
    make_context(tmp_path, "lab")
    assert resolve_endpoints(engines, environ) == {"here": context("lab")}
