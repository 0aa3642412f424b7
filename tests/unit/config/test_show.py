"""A configuration as `relay check --show` prints it."""

from pathlib import Path

import pytest

from relay.config import find_origin
from relay.config.origin import of_file
from relay.config.show import show
from relay.destinations.catalog import DESTINATION_TYPES, load_config, parse_config
from tests.unit.config.test_load import CANARIES, EXAMPLE

SECRETS = """
engines:
  here: {url: "unix:///run/docker.sock"}
  away: {url: "ssh://root@away"}
  edge: {url: "http://me:s3cret@edge", headers: {X-One: s3cret, X-Two_file: /run/two}}
  fleet: {type: nats, url: [tls://away:4222], username: me, password: s3cret}
admin: {listen: "127.0.0.1:9321", token: s3cret-s3cret-s3cret-s3cret}
destinations:
  # s3cret
  ops: &ops {type: slack, url: "https://hooks.slack.com/s3cret", retry: {max: 5m}, title: s3cret}
  two: {<<: *ops, url: "${SLACK}", concurrency: 2}
  half: {type: slack, url: "https://hooks.slack.com/${SLACK}"}
  file: {type: slack, url_file: /run/secrets/slack}
  chat: {type: telegram, token: "${TOKEN:-1:s3cret-s3cret}", chat_id: -5}
  hook:
    type: http
    url: https://example.com/s3cret
    headers: {X-Key: s3cret}
    basic_auth: {username: s3cret, password: s3cret}
    format: template
    body: {token: s3cret, n: 1, yes: [true]}
routes:
  - {name: all, match: {label: {version: 1.10}}, text: "{{ event.name }}", to: [ops, two, half]}
  - {name: own, match: {type: relay}, to: [file, chat, hook]}
"""


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Nor a comment; references and the paths of files are."""
    file = tmp_path / "config.yaml"
    file.write_text(SECRETS)
    text = show(of_file(file), DESTINATION_TYPES)
    assert text.startswith(f"# {file}, without its secrets\n")
    assert text.replace("title: s3cret", "").count("s3cret") == 0
    for shown in (
        *("unix:///run/docker.sock", "ssh://root@away", "X-Two_file: /run/two", "${SLACK}\n"),
        *("tls://away:4222", "type: nats"),
        *("url_file: /run/secrets/slack", "chat_id: -5", "concurrency: 2", "version: '1.10'"),
        *("max: 5m", "{{ event.name }}", "X-Key: (hidden)", "token: (hidden)"),
    ):
        assert shown in text


def test_what_holds_no_secret_is_the_same_configuration(tmp_path: Path) -> None:
    """What is printed can be read again."""
    file = tmp_path / "config.yaml"
    file.write_text(EXAMPLE.read_text())
    shown = show(of_file(file), DESTINATION_TYPES)
    shown = shown.replace("(hidden)", "https://audit.example.com/hook")
    again = parse_config(shown, file="f", environ=CANARIES, folder=tmp_path)
    assert again == load_config(file, CANARIES)


@pytest.mark.parametrize("environ", [{}, {"RELAY_WEBHOOK_URL": "https://example.com/s3cret"}])
def test_the_built_in_one(environ: dict[str, str], tmp_path: Path) -> None:
    """It is shown with its comments, and with the names of its variables."""
    origin = find_origin(None, environ, tmp_path / "none.yaml")
    text = show(origin, DESTINATION_TYPES)
    assert "s3cret" not in text
    assert "# it should run, and cannot be started" in text
    assert all(f"${{{name}}}" in text for name in environ)
