"""An engine that requires TLS with client certificates."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import Binaries, PrivateEngine
from tests.support.receiver import Receiver


@dataclass(frozen=True, slots=True)
class SecureEngine:
    """An engine that accepts only clients with a certificate of its authority."""

    engine: PrivateEngine
    url: str
    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def secure(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureEngine]:
    """An engine on loopback under ``--tlsverify``."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    certificate, key = authority.issue("server")
    url = f"tcp://127.0.0.1:{_free_port()}"
    options = [
        f"--host={url}",
        "--tlsverify",
        f"--tlscacert={authority.certificate}",
        f"--tlscert={certificate}",
        f"--tlskey={key}",
    ]
    with PrivateEngine(binaries, options=options) as engine:
        yield SecureEngine(engine, url, authority.certificate, *authority.issue("client"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def write_tls_config(
    folder: Path, secure: SecureEngine, receiver: Receiver, tls: dict[str, str] | None
) -> Path:
    """Route the creation of volumes on this engine to the receiver."""
    return write_config(
        folder,
        engines={"edge": {"url": secure.url, **({} if tls is None else {"tls": tls})}},
        store={"path": str(folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[{"name": "made", "match": {"type": "volume", "action": "create"}, "to": "hook"}],
    )


def test_events_come_over_tls(secure: SecureEngine, receiver: Receiver, relay_folder: Path) -> None:
    """With the authority's certificate and a client certificate, events arrive over TLS."""
    tls = {
        "ca_file": str(secure.ca),
        "cert_file": str(secure.certificate),
        "key_file": str(secure.key),
    }
    with RelayProcess(write_tls_config(relay_folder, secure, receiver, tls)) as relay:
        relay.wait_for_log("engine.connected", engine="edge")
        (created, _) = secure.engine.make_events(2)
        (request,) = receiver.wait_for(1)
        assert relay.terminate() == 0
    (event,) = request.json["events"]
    assert (event["action"], event["actor"]["id"], event["engine"]) == (*created, "edge")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "an HTTP request to an HTTPS server"),
        ({}, "its certificate is not accepted: "),
        ({"ca_file"}, "TLS: "),
    ],
    ids=["plain", "unknown authority", "no certificate of its own"],
)
def test_a_refusal_is_readable(
    files: set[str] | None,
    message: str,
    secure: SecureEngine,
    receiver: Receiver,
    relay_folder: Path,
) -> None:
    """The log says in one line, without a traceback, what a TLS connection lacks."""
    tls = None if files is None else {name: str(secure.ca) for name in files}
    with RelayProcess(write_tls_config(relay_folder, secure, receiver, tls)) as relay:
        line = relay.wait_for_log("engine.unreachable")
        assert relay.terminate() == 0
        assert message in line["reason"]
        assert "Traceback" not in relay.stderr
