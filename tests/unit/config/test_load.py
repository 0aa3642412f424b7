"""Loading a configuration: all problems at once, each with its position, and none with a secret."""

from pathlib import Path
from typing import Any

import pytest

from relay.config import Config, Field, Glob, Match
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES, default_config, load_config, parse_config

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "config.example.yaml"
CANARIES = {
    "SLACK_WEBHOOK_URL": "https://slack.example/CANARY-one",
    "AUDIT_TOKEN": "CANARY-two",
}
DESTINATIONS = "destinations: {a: {type: console}}\n"
ROUTES = "routes: [{name: all, to: a}]\n"

TYPES = ", ".join(DESTINATION_TYPES.models)


def _parse(text: str, **environ: str) -> Config:
    return parse_config(text, file="f", environ=environ, folder=HERE)


def _problems(text: str, **environ: str) -> list[str]:
    """The problems in a text, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        _parse(text, **environ)
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def _match(text: str) -> Match:
    found = _parse(f"{DESTINATIONS}routes: [{{name: a, to: a, match: {text}}}]")
    return found.routes[0].match


def test_every_problem_at_once() -> None:
    """A file with many mistakes gives one line for each, from top to bottom."""
    with pytest.raises(ConfigError) as caught:
        parse_config(
            (HERE / "broken.yaml").read_text(),
            file="config.yaml",
            environ={"AUDIT_URL": "CANARY", "SLACK_WEBHOOK_URL": "CANARY"},
            folder=HERE,
        )
    expected = (HERE / "broken.txt").read_text().replace("{types}", TYPES)
    assert f"{caught.value}\n" == expected
    assert caught.value.exit_code == 2


def test_example() -> None:
    """The example that people copy loads, and its repr shows no secret."""
    config = load_config(EXAMPLE, CANARIES)
    assert list(config.destinations) == ["terminal", "ops", "audit"]
    assert [route.name for route in config.routes] == ["noise", "died", "not-started", "unhealthy"]
    assert "CANARY" not in repr(config) + str(config)


def test_default() -> None:
    """Without a file, relay prints what fails on the local engine, and that it is lost."""
    config = default_config()
    assert list(config.engines) == ["local"]
    assert list(config.destinations) == ["terminal"]
    assert [route.name for route in config.routes] == [
        *("died", "not-started", "unhealthy", "engine-lost")
    ]
    assert all(route.to == ("terminal",) for route in config.routes)


def test_engine_without_settings() -> None:
    """An engine may be an empty mapping or nothing at all."""
    config = _parse(f"engines: {{a: {{}}, b: }}\n{DESTINATIONS}{ROUTES}")
    assert config.engines["a"] == config.engines["b"]


def test_scalars_reach_patterns_as_written() -> None:
    """YAML does not convert the value of a label to another type."""
    found = _match("{label: {version: 1.10, alert: yes, build: 007, on: true, n: 5, z: -0}}")
    assert found.fields == tuple(
        Field("label", key, (Glob(text),))
        for key, text in [
            ("version", "1.10"),
            ("alert", "yes"),
            ("build", "007"),
            ("on", "true"),
            ("n", "5"),
            ("z", "-0"),
        ]
    )


def test_numbers_and_booleans_from_the_environment() -> None:
    """A value from the environment may be a number, a boolean or part of a text."""
    config = _parse(
        'destinations: {a: {type: "${TYPE}", concurrency: "${N}"}}\n'
        'routes: [{name: "r-${N}", to: "${TO:-a}", stop: "${STOP}",'
        ' match: {name: {exists: "${STOP}"}, exit_code: "${N}"}}]',
        TYPE="console",
        N="4",
        STOP="true",
    )
    assert config.destinations["a"].concurrency == 4
    assert config.routes[0].name == "r-4"
    assert config.routes[0].stop is True


def test_secret_files_are_relative_to_the_folder(tmp_path: Path) -> None:
    """Relative paths of secret files start at the folder of the configuration."""
    (tmp_path / "hook").write_text("https://example.com/CANARY\n")
    (tmp_path / "token").write_text("CANARY\n")
    file = tmp_path / "config.yaml"
    file.write_text(
        "destinations:\n  a: {type: http, url_file: hook, headers: {Authorization_file: token}}\n"
        + ROUTES
    )
    destination: Any = load_config(file, {}).destinations["a"]
    assert destination.url.get_secret_value() == "https://example.com/CANARY"
    assert destination.headers["Authorization"].get_secret_value() == "CANARY"
    assert "CANARY" not in repr(destination)


def test_content_of_a_secret_file_stays_secret(tmp_path: Path) -> None:
    """A problem with a file's content is reported at the key that names it, without the content."""
    (tmp_path / "hook").write_text("CANARY")
    text = "destinations:\n  a:\n    type: slack\n    url_file: hook\n" + ROUTES
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", environ={}, folder=tmp_path)
    assert str(caught.value) == (
        "f:4:15: destinations.a.url_file: the value is not an http or https URL, "
        "as in https://example.com/hook"
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "{}",
            [
                "1:1: needs 'destinations': where to send, as in {terminal: {type: console}}",
                "1:1: needs 'routes': what goes where, as in [{name: all, to: terminal}]",
            ],
        ),
        (
            "destinations:\nroutes: []\n",
            [
                "1:14: destinations: is empty: write where to send, as in "
                "{terminal: {type: console}}",
                "2:1: routes: is empty: write what goes where, as in [{name: all, to: terminal}]",
            ],
        ),
        (
            "destinations: x\nroutes: {}\n",
            [
                "1:15: destinations: must be a mapping, with 'key: value' lines",
                "2:1: routes: must be a list, with '- ' before each item",
            ],
        ),
        (
            f"destination: {{a: {{type: console}}}}\n{ROUTES}",
            ["1:1: destination: unknown key 'destination' (did you mean 'destinations'?)"],
        ),
        (
            f"engine: {{x: }}\n{DESTINATIONS}routes: [{{name: a, to: a, match: {{engine: x}}}}]",
            ["1:1: engine: unknown key 'engine' (did you mean 'engines'?)"],
        ),
        (
            "destinations: {a: {tpye: console}, b: {n: 1}, c: 5, d: {type: }}\n" + ROUTES,
            [
                "1:20: destinations.a.tpye: unknown key 'tpye' (did you mean 'type'?)",
                f"1:36: destinations.b: needs 'type': one of {TYPES}",
                "1:50: destinations.c: must be a mapping, with 'key: value' lines",
                "1:62: destinations.d.type: the value is not a type of destination: "
                f"there are {TYPES}",
            ],
        ),
        (
            f"{DESTINATIONS}routes: [{{name: a, too: a}}, {{name: b, dorp: true}}, {{to: a}}]",
            [
                "2:20: routes[0].too: unknown key 'too' (did you mean 'to'?)",
                "2:39: routes[1].dorp: unknown key 'dorp' (did you mean 'drop'?)",
                "2:52: routes[2]: needs 'name'",
            ],
        ),
        (
            'destinations: {a: {type: slack, url_file: "${NOPE}/x"}}\n' + ROUTES,
            [
                "1:43: destinations.a.url_file: the environment has no variable NOPE: "
                "set it, or write ${NOPE:-default}"
            ],
        ),
        (
            f'{DESTINATIONS}routes: [{{name: a, to: "${{NOPE}}", drop: "${{NOPE}}"}}]',
            [
                f"2:{column}: routes[0].{key}: the environment has no variable NOPE: "
                "set it, or write ${NOPE:-default}"
                for column, key in [(24, "to"), (41, "drop")]
            ],
        ),
        (
            "destinations: {a: &a {type: console, concurrency: 0}, b: *a, c: {<<: *a}}\n" + ROUTES,
            ["1:51: destinations.a.concurrency: '0' is less than 1"],
        ),
        (
            f"{DESTINATIONS}{ROUTES}engines: {{a: 5, 'b c': {{}}, c: {{tls: {{cafile: x}}}}}}",
            [
                "3:14: engines.a: must be a mapping, with 'key: value' lines",
                "3:17: engines['b c']: 'b c' is not a name: use letters, digits, '.', '_' and "
                "'-', at most 64, and a letter or a digit first",
                "3:38: engines.c.tls.cafile: unknown key 'cafile' (did you mean 'ca_file'?)",
            ],
        ),
        (
            f"{DESTINATIONS}{ROUTES}ingest: {{buffr: 1}}\nstore: {{path: [x]}}",
            [
                "3:10: ingest.buffr: unknown key 'buffr' (did you mean 'buffer'?)",
                "4:9: store.path: the value is not text: put it in quotes",
            ],
        ),
        (
            "destinations: {a: {type: console, retry: {inital: 1s}, format: json, url: x}}\n"
            + ROUTES,
            [
                "1:43: destinations.a.retry.inital: unknown key 'inital' (did you mean 'initial'?)",
                "1:56: destinations.a.format: unknown key 'format' (it is for 'type: http' only)",
                "1:70: destinations.a.url: unknown key 'url' "
                "(there are: concurrency, retry, rate_limit, ordering, notify, for, "
                "mute, resolve_after, send_resolved, group_by, group_wait, group_interval, "
                "repeat_interval, type)",
            ],
        ),
        (
            f"{DESTINATIONS}routes:\n"
            "- {name: a, to: a, include: {log: 5, logs: 999, health: 1x, inspect: [Pid, a b]}}\n"
            "- {name: b, drop: true, include: {logs: 5}}\n"
            "- {name: c, to: a, include: logs}\n",
            [
                "3:30: routes[0].include.log: unknown key 'log' (did you mean 'logs'?)",
                "3:44: routes[0].include.logs: '999' is more than 200",
                "3:57: routes[0].include.health: '1x' is neither true nor false",
                "3:76: routes[0].include.inspect[1]: 'a b' is not the path of an inspect field, "
                "as in RestartCount or State.Pid",
                "4:25: routes[1].include: 'drop' sends nothing: remove 'include'",
                "5:29: routes[2].include: must be a mapping, with 'key: value' lines",
            ],
        ),
        (
            "destinations: {a: {type: http, url: http://x, format: xml, headers: {A: , B: true}}}\n"
            + ROUTES,
            [
                "1:55: destinations.a.format: 'xml' is not 'json', 'cloudevents', "
                "'cloudevents-binary' or 'template'",
                "1:72: destinations.a.headers.A: is empty: write a value, or remove it",
                "1:78: destinations.a.headers.B: the value is not text: put it in quotes",
            ],
        ),
    ],
)
def test_one_line_for_one_mistake(text: str, lines: list[str]) -> None:
    """Each mistake gives one readable line with its position, and nothing that follows from it."""
    assert _problems(text) == lines


@pytest.mark.parametrize(
    "text",
    [
        'destinations: {a: {type: "${X}"}}\n' + ROUTES,
        'destinations: {a: {type: slack, url: "${X}"}}\n' + ROUTES,
        'destinations: {a: {type: slack, url_file: "${X}"}}\n' + ROUTES,
        'destinations: {a: {type: console, concurrency: "${X}", rate_limit: "${X}"}}\n' + ROUTES,
        f'{DESTINATIONS}routes: [{{name: "${{X}} ", to: "${{X}}", drop: "${{X}}"}}]',
        f'{DESTINATIONS}routes: [{{name: a, to: a, match: {{name: {{regex: "${{X}}"}}}}}}]',
        f'{DESTINATIONS}routes: [{{name: a, to: a, match: {{cause: "${{X}}", signal: "${{X}}"}}}}]',
        f'{DESTINATIONS}routes: [{{name: a, to: a, match: "${{X}}"}}]',
        f'{DESTINATIONS}{ROUTES}engines: {{a: {{url: "${{X}}", start_from: "${{X}}"}}}}',
        f'{DESTINATIONS}{ROUTES}engines: {{a: {{url: "tcp://x", tls: {{ca_file: "${{X}}"}}}}}}',
        f'{DESTINATIONS}{ROUTES}store: "${{X}}"\ningest: {{buffer: "${{X}}"}}',
    ],
)
def test_values_of_the_environment_are_not_shown(text: str) -> None:
    """An error shows a value from the environment as it is written in the file, if at all."""
    lines = _problems(text, X="CANARY(?P<CANARY>[")
    assert lines
    assert "CANARY" not in "".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "destinations: {a: https://x/CANARY}\n" + ROUTES,
        "destinations: {a: {type: slack, url: CANARY}}\n" + ROUTES,
        'destinations: {a: {type: http, url: "http://x", headers: "A: CANARY"}}\n' + ROUTES,
        'destinations: {a: {type: http, url: "http://x", headers: {A: "CANARY\\n"}}}\n' + ROUTES,
        'destinations: {a: {type: http, url: "http://x", headers: {A: "CANARY${"}}}\n' + ROUTES,
        "destinations: {a: {type: console, password: CANARY}}\n" + ROUTES,
        f'engines: {{a: {{url: "x://me:CANARY@x"}}}}\n{DESTINATIONS}{ROUTES}',
        f'engines: {{a: {{headers: {{X-Key: "CANARY\\0"}}}}}}\n{DESTINATIONS}{ROUTES}',
        f"engines: {{a: {{headers: CANARY}}}}\n{DESTINATIONS}{ROUTES}",
    ],
)
def test_secrets_in_the_file_are_not_shown(text: str) -> None:
    """An error shows no value of a key that may hold a secret, valid or not."""
    assert "CANARY" not in "".join(_problems(text))


def test_error_has_no_cause() -> None:
    """The error has no cause or context that would show a value."""
    with pytest.raises(ConfigError) as caught:
        _parse("destinations: {a: {type: slack, url: CANARY}}\n" + ROUTES)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff", "is not UTF-8 text, on line 1"),
        (b"\n\n\xff\xfea\0", "is not UTF-8 text, on line 3"),
        (b"#" * (2**20 + 1), "is larger than 1 MiB"),
        (b"", "holds no configuration: write 'destinations' and 'routes'"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that cannot be a configuration gives one clear line."""
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("a\0b", "cannot be read: its name holds a NUL"),
    ],
)
def test_unreadable_file(tmp_path: Path, name: str, message: str) -> None:
    """A path that cannot be read gives one clear line."""
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / name, {})
    assert str(caught.value) == f"{tmp_path / name}: {message}"


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without read permission gives one clear line."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_config(tmp_path / "config.yaml", {})
