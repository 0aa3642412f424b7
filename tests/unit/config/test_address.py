from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import AdminConfig, Config, TcpPort, UnixSocket
from relay.config.address import is_loopback, parse_listen_address
from relay.core.errors import ConfigError
from relay.destinations.catalog import parse_config

DESTINATIONS = "destinations: {a: {type: console}}\nroutes: [{name: a, to: a}]\n"


TOKEN = "0123456789abcdef0123456789abcdef"


def _parse(text: str, folder: Path = Path(), **environ: str) -> Config:
    return parse_config(DESTINATIONS + text, file="f", environ=environ, folder=folder)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9321", TcpPort("127.0.0.1", 9321)),
        ("localhost:1", TcpPort("localhost", 1)),
        ("0.0.0.0:65535", TcpPort("0.0.0.0", 65535)),
        ("[::1]:9321", TcpPort("::1", 9321)),
        ("unix:/run/relay/admin.sock", UnixSocket(Path("/run/relay/admin.sock"))),
        ("unix:/" + 106 * "a", UnixSocket(Path("/" + 106 * "a"))),
    ],
)
def test_parse_listen_address(text: str, address: TcpPort | UnixSocket) -> None:
    """An address is parsed, and ``str`` gives back the same text."""
    assert parse_listen_address(text) == address
    assert str(address) == text


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
def test_invalid_listen_address(text: str) -> None:
    """An address needs both host and port, or the absolute path of a socket."""
    with pytest.raises(ValueError, match="is neither HOST:PORT"):
        parse_listen_address(text)


def test_socket_path_is_too_long() -> None:
    """The error names the longest path that the system accepts."""
    with pytest.raises(ValueError, match="a socket's path may have 107 bytes"):
        parse_listen_address("unix:/" + 107 * "a")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
def test_loopback_host(host: str) -> None:
    """Loopback addresses and ``localhost`` are local."""
    assert is_loopback(host)
    assert parse_listen_address(f"[{host}]:1" if ":" in host else f"{host}:1").is_local


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "10.0.0.1", "fe80::1", "relay", "localhost.example.com", "127.1"),
        *("127.0.0.1.nip.io", "localhost.", ""),
    ],
)
def test_other_host(host: str) -> None:
    """Any other address or name is not local, even if it resolves to a local address."""
    assert not is_loopback(host)


def test_unix_socket_is_local() -> None:
    """A Unix socket is always local."""
    assert parse_listen_address("unix:/run/relay/admin.sock").is_local


@given(st.text())
def test_any_host(host: str) -> None:
    """`is_loopback` decides for any text, and raises no error."""
    assert is_loopback(host) in (True, False)


def test_no_admin_section() -> None:
    """Without the section there is no admin interface."""
    assert _parse("").admin is None


def test_admin_section() -> None:
    """The section gives the address to listen on."""
    admin = _parse('admin: {listen: "127.0.0.1:9321"}').admin
    assert admin == AdminConfig(listen=TcpPort("127.0.0.1", 9321))


@pytest.mark.parametrize("written", [f"token: {TOKEN}", 'token: "${TOKEN}"', "token_file: token"])
def test_token(written: str, tmp_path: Path) -> None:
    """A token comes from the file, the environment or a file of its own, and no repr shows it."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    config = _parse(f"admin: {{listen: 'x:1', {written}}}", tmp_path, TOKEN=TOKEN)
    assert config.admin is not None
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == TOKEN
    assert TOKEN not in f"{config!r} {config}"


SHORT = "too short: use 32 random characters, as `openssl rand -hex 16` prints them"
ODD = "not a token: use letters and digits, as `openssl rand -hex 16` does"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("token: sekrit", f"f:3:31: admin.token: the value is {SHORT}"),
        ("token: sekrit8901234567", None),
        ("token: sekrit890123456", f"f:3:31: admin.token: the value is {SHORT}"),
        ('token: "${TOKEN}"', f"f:3:31: admin.token: the value is {SHORT}"),
        ("token_file: token", f"f:3:36: admin.token_file: the value is {SHORT}"),
        ("token_file: spaced", f"f:3:36: admin.token_file: the value is {ODD}"),
        ("token: sekrit sekrit sekrit", f"f:3:31: admin.token: the value is {ODD}"),
        ("token: sekrit-sékrit-sekrit", f"f:3:31: admin.token: the value is {ODD}"),
        (
            "token_file: nope",
            "f:3:36: admin.token_file: 'nope' cannot be read: No such file or directory",
        ),
        ("token_file: empty", "f:3:36: admin.token_file: 'empty' is an empty file"),
        ("token_file: ", "f:3:35: admin.token_file: must be the path of a file"),
        ("token: ", "f:3:30: admin.token: is empty: write a value, or remove it"),
        ('token: ""', "f:3:31: admin.token: is empty"),
        ("token: [sekrit]", "f:3:24: admin.token: the value is not text: put it in quotes"),
        (
            "token: sekrit8901234567, token_file: token",
            "f:3:49: admin.token_file: 'token' and 'token_file' exclude each other: keep one",
        ),
        (
            "tokn_file: x",
            "f:3:24: admin.tokn_file: unknown key 'tokn_file' (did you mean 'token_file'?)",
        ),
    ],
)
def test_invalid_token(written: str, problem: str | None, tmp_path: Path) -> None:
    """The error says what is wrong without showing any part of the token."""
    (tmp_path / "token").write_text("sekrit\n")
    (tmp_path / "spaced").write_text("sekrit89 12345678\n")
    (tmp_path / "empty").write_text("\n")
    section = f"admin: {{listen: 'a:1', {written}}}"
    if problem is None:
        _parse(section)
        return
    with pytest.raises(ConfigError) as caught:
        _parse(section, tmp_path, TOKEN="sekrit")
    assert str(caught.value) == problem


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
def test_invalid_admin_section(section: str, problem: str) -> None:
    """The error is one line with its position."""
    with pytest.raises(ConfigError) as caught:
        _parse(section)
    assert str(caught.value) == problem
