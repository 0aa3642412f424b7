"""Engines of ``type: nats``, and the keys of a connection to NATS."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import Config, validators
from relay.config.nats_engine import NatsEngineConfig
from relay.core.errors import ConfigError
from relay.destinations.catalog import parse_config

REST = "destinations: {ops: {type: console}}\nroutes: [{name: all, to: ops}]\n"


def parse(engine: str, folder: Path = Path("/nowhere"), rest: str = REST) -> Config:
    text = f"engines: {{fleet: {engine}}}\n{rest}"
    return parse_config(text, file="f", environ={"SEED": "s3cret"}, folder=folder)


def nats(more: str = "", url: str = "tls://a", folder: Path = Path("/nowhere")) -> NatsEngineConfig:
    entry = f"{{type: nats, url: {url}, stream: RELAY, consumer: HUB, {more}}}"
    return parse(entry, folder).nats_engines["fleet"]


def problems(engine: str, folder: Path = Path("/nowhere")) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(engine, folder)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_defaults() -> None:
    engine = nats()
    assert (engine.url, engine.stream, engine.consumer) == (("tls://a",), "RELAY", "HUB")
    assert (engine.batch, engine.inbox, engine.uses_tls) == (256, "_INBOX.HUB", True)
    assert engine.remember == timedelta(hours=1)
    assert engine.silent_after == timedelta(minutes=5)


def test_all_keys(tmp_path: Path) -> None:
    """A password comes from its file; the key is read at each connection, so its path is kept."""
    for name in ("seed", "ca.pem", "password"):
        (tmp_path / name).write_text("s3cret\n")
    urls = "[tls://a:4222, 'tls://[::1]', tls://192.0.2.1/]"
    engine = nats("nkey_file: seed, tls: {ca_file: ca.pem}, batch: 1", urls, tmp_path)
    assert engine.url == ("tls://a:4222", "tls://[::1]", "tls://192.0.2.1/")
    assert engine.nkey_file == tmp_path / "seed"
    assert engine.tls is not None
    assert engine.tls.ca_file == tmp_path / "ca.pem"
    engine = nats("username: me, password_file: password", "nats://a", tmp_path)
    assert engine.password is not None
    assert engine.password.get_secret_value() == "s3cret"
    engine = nats("token: '${SEED}', silent_after: 0s, inbox_prefix: _INBOX.hub")
    assert (engine.silent_after, engine.inbox) == (timedelta(0), "_INBOX.hub")
    assert "s3cret" not in repr(engine)


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem says how to install it."""
    monkeypatch.setattr(validators, "find_spec", lambda _: None)
    (problem,) = problems("{type: nats, url: nats://a, stream: S, consumer: C}")
    assert problem.startswith("engines.fleet.type: ")
    assert "pip install 'docker-event-relay[nats]'" in problem


def test_the_kinds_of_engines() -> None:
    """An engine without a type is a Docker API."""
    engines = "a: , b: {type: docker}, c: {type: nats, url: nats://a, stream: S, consumer: C}"
    config = parse(f"{{}}, {engines}")
    assert list(config.docker_engines) == ["fleet", "a", "b"]
    assert list(config.nats_engines) == ["c"]
    assert config.is_hub
    assert not parse("{}").is_hub


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("{type: nast}", "type: 'nast' is not a type of engine: there are docker, nats"),
        ("{type: [nats]}", "type: the value is not a type of engine: there are docker, nats"),
        ("{type: }", "type: "),
        ("{tipe: nats}", "tipe: unknown key 'tipe' (did you mean 'type'?)"),
        ("{stream: S}", "stream: unknown key 'stream' (it is for 'type: nats' only)"),
        ("5", "fleet: must be a mapping"),
    ],
)
def test_invalid_type(engine: str, expected: str) -> None:
    (problem,) = problems(engine)
    assert expected in problem


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("url: [nats://a, tls://a]", "mixes nats:// and tls://"),
        ("url: []", "is empty"),
        ("url: ''", "is empty"),
        ("url: a:4222", "is not the URL of a NATS server"),
        ("url: ws://a", "is not the URL of a NATS server"),
        ("url: nats://a/x", "is not the URL of a NATS server"),
        ("url: nats://a:x", "is not the URL of a NATS server"),
        ("url: nats://a:0", "has the port 0"),
        ("url: nats://me:s3cret@a", "holds a user: write 'username' and 'password_file'"),
        ("url: 'nats://a '", "begins or ends with a blank"),
        ("url: nats://a, tls: {}", "is for tls:// URLs only"),
        ("stream: a.b", "is not the name of a stream or a consumer"),
        ("stream: ''", "is not the name of a stream or a consumer"),
        ("consumer: 'a b'", "is not the name of a stream or a consumer"),
        ("nkey_file: seed", "cannot be read: No such file"),
        ("nkey_file: /dev/null, token: s3cret", "exclude each other"),
        ("creds_file: /dev/null, nkey_file: /dev/null", "exclude each other"),
        ("token: x, token_file: y", "'token' and 'token_file' exclude each other"),
        ("username: me", "'username' and 'password' go together"),
        ("password: s3cret", "'username' and 'password' go together"),
        ("password_file: nope, username: me", "cannot be read: No such file"),
        ("inbox_prefix: '_INBOX.>'", "is not the prefix of a subject"),
        ("inbox_prefix: _INBOX.", "is not the prefix of a subject"),
        ("batch: 0", "is less than 1"),
        ("batch: 1001", "is more than 1000"),
        ("remember: 1s", "is less than 1m"),
        ("silent_after: 29s", "is less than 30s (0s turns it off)"),
        ("start_from: now", "unknown key 'start_from' (it is for 'type: docker' only)"),
    ],
)
def test_invalid_values(more: str, expected: str) -> None:
    """Each is named once, without its secrets."""
    keys = {"type": "nats", "url": "tls://a", "stream": "S", "consumer": "C"}
    kept = ", ".join(f"{key}: {it}" for key, it in keys.items() if f"{key}:" not in more)
    (problem,) = problems(f"{{{kept}, {more}}}")
    assert expected in problem
    assert "s3cret" not in problem


def test_a_hub_does_not_know_the_engines_of_other_hosts() -> None:
    """Routes may name any; without an engine of ``type: nats`` that is a mistake."""
    rest = REST.replace("to: ops", "to: ops, match: {engine: theirs}")
    parse("{type: nats, url: nats://a, stream: S, consumer: C}", rest=rest)
    with pytest.raises(ConfigError, match="'theirs' is not a configured engine"):
        parse("{}", rest=rest)


def test_without_such_an_engine_its_model_is_not_imported() -> None:
    """So that nobody else pays for it at the start."""
    code = (
        "import sys\n"
        "from relay.destinations.catalog import parse_config\n"
        "from pathlib import Path\n"
        f"parse_config({REST!r}, file='f', environ={{}}, folder=Path('/'))\n"
        "print([name for name in sys.modules if 'nats' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
