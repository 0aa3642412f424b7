from pathlib import Path

import pytest

from relay.config import AdminConfig, Config, TcpPort, UnixSocket, parse
from relay.config.listening import listening
from relay.errors import ConfigError

DESTINATIONS = "destinations: {a: {type: console}}\nroutes: [{name: a, to: a}]\n"


def _parsed(text: str) -> Config:
    return parse(DESTINATIONS + text, file="f", environ={}, folder=Path())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9321", TcpPort("127.0.0.1", 9321)),
        ("localhost:1", TcpPort("localhost", 1)),
        ("0.0.0.0:65535", TcpPort("0.0.0.0", 65535)),
        ("[::1]:9321", TcpPort("::1", 9321)),
        ("unix:/run/relay/admin.sock", UnixSocket(Path("/run/relay/admin.sock"))),
        ("unix:/" + 106 * "a", UnixSocket(Path("/" + 106 * "a"))),
    ],
)
def test_a_place(text: str, place: TcpPort | UnixSocket) -> None:
    """It is read, and written as it was read."""
    assert listening(text) == place
    assert str(place) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9321",
        ":9321",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:http",
        "::1:9321",
        "[::1]",
        "[x]:1",
        "me@host:1",
        "host:1/metrics",
        "http://host:1",
        "host :1",
        "host:1\n",
        "unix:",
        "unix:run/admin.sock",
        "unix:/run/",
        "unix:/a\0b",
    ],
)
def test_no_place(text: str) -> None:
    """Host and port are both to be written, and a socket's whole path."""
    with pytest.raises(ValueError, match="is neither HOST:PORT"):
        listening(text)


def test_a_path_that_the_system_would_not_take() -> None:
    """It is told how long it may be."""
    with pytest.raises(ValueError, match="a socket's path may have 107 bytes"):
        listening("unix:/" + 107 * "a")


def test_nowhere() -> None:
    """Without the section nothing listens."""
    assert _parsed("").admin is None


def test_somewhere() -> None:
    """The section says where."""
    admin = _parsed('admin: {listen: "127.0.0.1:9321"}').admin
    assert admin == AdminConfig(listen=TcpPort("127.0.0.1", 9321))


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("admin:", "f:3:7: admin: is empty: write {listen: HOST:PORT}, or remove it"),
        ("admin: {}", "f:3:1: admin: needs 'listen'"),
        ("admin: {listen: [1]}", "f:3:9: admin.listen: must be HOST:PORT or unix:/PATH"),
        (
            "admin: {listen: 9321}",
            "f:3:17: admin.listen: '9321' is neither HOST:PORT, as in 127.0.0.1:9321, "
            "nor unix:/PATH",
        ),
        (
            'admin: {listn: "x:1"}',
            "f:3:9: admin.listn: unknown key 'listn' (did you mean 'listen'?)",
        ),
    ],
)
def test_a_wrong_section(section: str, problem: str) -> None:
    """What is wrong is told in one line, with its place."""
    with pytest.raises(ConfigError) as caught:
        _parsed(section)
    assert str(caught.value) == problem
