"""The variables that take the place of a configuration file."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config import OriginKind, find_origin
from relay.config.services import SERVICES, Service, all_settings
from relay.config.warnings import find_warnings
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES, load_located_config
from tests.support.profiles import examples

NOWHERE = Path("/nowhere/config.yaml")
GOOD = {
    "RELAY_SLACK_URL": "https://hooks.slack.com/services/canary",
    "RELAY_DISCORD_URL": "https://discord.com/api/webhooks/1/canary",
    "RELAY_TEAMS_URL": "https://prod.westus.logic.azure.com/canary",
    "RELAY_NTFY_TOPIC": "canary",
    "RELAY_NTFY_URL": "https://ntfy.example.com",
    "RELAY_NTFY_TOKEN": "tk_canary",
    "RELAY_TELEGRAM_TOKEN": "123456:canary-canary",
    "RELAY_TELEGRAM_CHAT_ID": "-1001234567890",
    "RELAY_GOTIFY_URL": "https://gotify.example.com/canary",
    "RELAY_GOTIFY_TOKEN": "canary",
    "RELAY_WEBHOOK_URL": "https://example.com/canary",
    "RELAY_APPRISE_URL": "json://example.com/canary",
}


def problems(environ: Mapping[str, str]) -> list[str]:
    """What is wrong with these variables."""
    with pytest.raises(ConfigError) as caught:
        load_located_config(find_origin(None, environ, NOWHERE), environ)
    assert "canary" not in str(caught.value)
    return str(caught.value).splitlines()


def test_every_variable_has_a_sample() -> None:
    """The tests below are about all of them, and each is of a type that exists."""
    assert {each.variable for each in all_settings()} == set(GOOD)
    for service in SERVICES:
        keys = DESTINATION_TYPES.models[service.type].model_fields
        assert {each.key for each in service.settings} <= set(keys)
        assert service.settings[0].is_required


@pytest.mark.parametrize("service", SERVICES, ids=lambda it: it.name)
def test_a_service(service: Service, tmp_path: Path) -> None:
    """Its variables make a destination of its name; files with the values make the same."""
    given = {each.variable: GOOD[each.variable] for each in service.settings}
    in_files = {}
    for name, value in given.items():
        (tmp_path / name).write_text(f"{value}\n")
        in_files[f"{name}_FILE"] = str(tmp_path / name)
    configs = []
    for environ in (given, in_files):
        origin = find_origin(None, environ, NOWHERE)
        assert origin.kind is OriginKind.VARIABLES
        assert "canary" not in origin.text
        configs.append(load_located_config(origin, environ).config)
    assert configs[0] == configs[1]
    assert list(configs[0].destinations) == [service.name]
    assert configs[0].destinations[service.name].type == service.type
    assert all(route.to == (service.name,) for route in configs[0].routes)


def test_all_of_them() -> None:
    """Each gets everything, in the order of the list; none has container logs in it."""
    config = load_located_config(find_origin(None, GOOD, NOWHERE), GOOD).config
    assert list(config.destinations) == [service.name for service in SERVICES]
    assert [route.name for route in config.routes] == [
        *("died", "not-started", "unhealthy", "engine-lost")
    ]
    assert all(route.to == tuple(config.destinations) for route in config.routes)
    assert all(route.include.request is None for route in config.routes)


def test_the_name_of_the_machine() -> None:
    """``RELAY_HOST`` is the name in messages."""
    environ = {**GOOD, "RELAY_HOST": "node-1"}
    config = load_located_config(find_origin(None, environ, NOWHERE), environ).config
    assert config.docker_engines["local"].host == "node-1"
    wrong = {**GOOD, "RELAY_HOST": " "}
    assert problems(wrong) == [
        "environment: RELAY_HOST: the value is not one readable line of 1 to 255 characters"
    ]


SLACK = {"RELAY_SLACK_URL": GOOD["RELAY_SLACK_URL"]}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (
            {"RELAY_SLACK_URL": ""},
            ["RELAY_SLACK_URL: is empty: set it to a value, or do not set it at all"],
        ),
        (
            {"RELAY_SLACK_URL_FILE": ""},
            ["RELAY_SLACK_URL_FILE: is empty: set it to a value, or do not set it at all"],
        ),
        (
            {**SLACK, "RELAY_SLACK_URL_FILE": "/run/secrets/slack"},
            ["RELAY_SLACK_URL_FILE: RELAY_SLACK_URL is set as well: keep one of the two"],
        ),
        (
            {"RELAY_TELEGRAM_TOKEN": "1:canary"},
            [
                "RELAY_TELEGRAM_CHAT_ID: is not set, but RELAY_TELEGRAM_TOKEN is: set it too, or "
                "RELAY_TELEGRAM_CHAT_ID_FILE"
            ],
        ),
        (
            {"RELAY_GOTIFY_TOKEN_FILE": "/run/secrets/gotify"},
            [
                "RELAY_GOTIFY_URL: is not set, but RELAY_GOTIFY_TOKEN_FILE is: set it too, or "
                "RELAY_GOTIFY_URL_FILE"
            ],
        ),
        (
            {"RELAY_NTFY_URL": "https://ntfy.example.com"},
            [
                "RELAY_NTFY_TOPIC: is not set, but RELAY_NTFY_URL is: set it too, or "
                "RELAY_NTFY_TOPIC_FILE"
            ],
        ),
        (
            {"RELAY_SLACK_WEBHOOK_URL": "https://canary"},
            ["RELAY_SLACK_WEBHOOK_URL: is no variable of relay's (did you mean RELAY_SLACK_URL?)"],
        ),
        (
            {"RELAY_GOTIFY_TOKN": "1"},
            ["RELAY_GOTIFY_TOKN: is no variable of relay's (did you mean RELAY_GOTIFY_TOKEN?)"],
        ),
        (
            {"RELAY_CONFIG_YAML_FILE": "/x"},
            ["RELAY_CONFIG_YAML_FILE: is no variable of relay's (did you mean RELAY_CONFIG?)"],
        ),
        (
            {"RELAY_SLACK_URL": f'"{SLACK["RELAY_SLACK_URL"]}"'},
            [
                "RELAY_SLACK_URL: the value has quotes around it, which are a part of it: "
                "remove them where it is set"
            ],
        ),
        (
            {"RELAY_SLACK_URL": f"{SLACK['RELAY_SLACK_URL']}\n"},
            ["RELAY_SLACK_URL: the value ends with a line break: remove it"],
        ),
        (
            {"RELAY_TELEGRAM_TOKEN": "123456:canary-canary", "RELAY_TELEGRAM_CHAT_ID": "canary!"},
            [
                "RELAY_TELEGRAM_CHAT_ID: the value is neither the number of a chat nor '@' and a "
                "channel's name"
            ],
        ),
        (
            {"RELAY_SLACK_URL_FILE": "/nowhere/slack"},
            ["RELAY_SLACK_URL_FILE: '/nowhere/slack' cannot be read: No such file or directory"],
        ),
    ],
)
def test_mistakes(environ: dict[str, str], wanted: list[str]) -> None:
    """Each is reported by the name of its variable, with what to do, and without a value."""
    assert problems(environ) == [f"environment: {line}" for line in wanted]


def test_a_variable_that_is_like_no_other() -> None:
    """The message lists those that exist."""
    (line,) = problems({"RELAY_COFFEE": "canary", **SLACK})
    assert "RELAY_COFFEE: is no variable of relay's (there are: RELAY_SLACK_URL, " in line


@pytest.mark.parametrize("name", ["RELAY_APPRISE_URL", "RELAY_APPRISE_URL_FILE"])
def test_a_library_that_is_not_installed(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message is about the variable, and says what to install."""
    (tmp_path / "url").write_text(GOOD["RELAY_APPRISE_URL"])
    value = str(tmp_path / "url") if name.endswith("_FILE") else GOOD[name]
    monkeypatch.setattr("relay.config.validators.find_spec", lambda _: None)
    (line,) = problems({name: value})
    assert line.startswith("environment: RELAY_APPRISE_URL: ")
    assert "pip install 'docker-event-relay[apprise]'" in line


def test_every_mistake_at_once() -> None:
    """One start shows all of them."""
    environ = {"RELAY_SLAK_URL": "x", "RELAY_GOTIFY_URL": "", "RELAY_TEAMS_URL": ""}
    assert len(problems(environ)) == 4


def test_what_the_file_of_a_chat_holds(tmp_path: Path) -> None:
    """Its content is not shown, though a chat that stands in the configuration would be."""
    (tmp_path / "chat").write_text("canary!")
    environ = {
        "RELAY_TELEGRAM_TOKEN": GOOD["RELAY_TELEGRAM_TOKEN"],
        "RELAY_TELEGRAM_CHAT_ID_FILE": str(tmp_path / "chat"),
    }
    (line,) = problems(environ)
    assert line.startswith("environment: RELAY_TELEGRAM_CHAT_ID_FILE: the value is neither")


@pytest.mark.parametrize(
    "name",
    [
        *("RELAY_SERVICE_HOST", "RELAY_SERVICE_PORT", "RELAY_SERVICE_PORT_HTTP", "RELAY_PORT"),
        *("RELAY_PORT_9321_TCP", "RELAY_PORT_9321_TCP_ADDR", "RELAY_ADMIN_SERVICE_HOST"),
    ],
)
def test_variables_of_kubernetes(name: str) -> None:
    """A service named ``relay`` puts these into every container; nobody has set them."""
    environ = {**SLACK, name: "tcp://10.0.0.1:9321"}
    assert list(load_located_config(find_origin(None, environ, NOWHERE), environ).config.routes)


def test_a_warning_names_the_variable() -> None:
    """A line of a text that nobody wrote would not help."""
    environ = {"RELAY_DISCORD_URL": GOOD["RELAY_SLACK_URL"]}
    located = load_located_config(find_origin(None, environ, NOWHERE), environ)
    issues = located.locate(find_warnings(located.config, DESTINATION_TYPES))
    assert [(it.file, it.line, it.path) for it in issues] == [
        ("environment", 0, "RELAY_DISCORD_URL")
    ]


MARK = "kanarie"
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40),
    st.sampled_from(sorted(GOOD.values())),
)


@given(
    st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES.map(lambda text: text + MARK)),
    st.sets(st.sampled_from([f"{name}_FILE" for name in GOOD])),
)
@settings(max_examples=examples(200))
def test_any_values(environ: dict[str, str], files: set[str]) -> None:
    """There is a configuration or an error, and neither shows a value."""
    environ |= dict.fromkeys(files, "/nowhere/file")
    try:
        origin = find_origin(None, environ, NOWHERE)
        config = load_located_config(origin, environ).config
    except ConfigError as error:
        shown = str(error)
        assert all(line.startswith("environment: RELAY_") for line in shown.splitlines())
    else:
        shown = origin.text + repr(config.destinations)
        shown = re.sub(r"chat_id='[^']*'", "", shown)  # it is no secret
    assert MARK not in shown
