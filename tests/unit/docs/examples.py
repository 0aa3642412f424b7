"""The YAML of the pages, completed to whole files and read as relay and other programs read it."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Set
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from textwrap import indent
from time import time_ns
from typing import Any

import jsonschema
import yaml

from relay.config import Config
from relay.config.origin import built_in
from relay.config.route import Route
from relay.config.section import list_keys
from relay.config.warnings import find_warnings
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from relay.dryrun.compare import run_suite
from relay.dryrun.stage import STAGE_KEYS
from relay.dryrun.suite import load_suite
from relay.incidents.policy import build_policies
from relay.incidents.policy_warnings import find_policy_warnings
from tests.streams import read_records
from tests.unit.config.test_schema import errors
from tests.unit.docs.pages import ROOT, VARIABLES, Block, find_blocks

_SLACK = "https://hooks.slack.com/services/T0/B0/c"
ENVIRONMENT = {
    "APPRISE_URL": "json://h.lan/hook",
    "AUDIT_TOKEN": "s3cret",
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/123/abc",
    "EDGE_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/edge",
    "GOOGLE_CHAT_WEBHOOK_URL": "https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t",
    "GOTIFY_TOKEN": "A1b2C3d4E5f6G7h",
    "MAIL_PASSWORD": "s3cret",
    "MATRIX_TOKEN": "syt_s3cret",
    "MATTERMOST_WEBHOOK_URL": "https://chat.lan/hooks/abc",
    "NTFY_TOPIC": "t0p1c",
    "PAGERDUTY_ROUTING_KEY": "0" * 32,
    "PUSHOVER_TOKEN": "a" * 30,
    "PUSHOVER_USER": "u" * 30,
    "ROCKETCHAT_WEBHOOK_URL": "https://rocket.lan/hooks/1/abc",
    "SLACK_WEBHOOK_URL": _SLACK,
    "TEAMS_WORKFLOW_URL": "https://prod-1.westeurope.logic.azure.com/workflows/1/triggers/manual",
    "TELEGRAM_TOKEN": "123456:ABC-DEF1234ghIkl-zyx57W2v1u",
    "TOKEN": "A1b2C3d4E5f6G7h",
}
"""The variables that examples refer to."""

SECRETS = {
    "apprise": "json://h.lan/hook",
    "bot": ENVIRONMENT["TELEGRAM_TOKEN"],
    "discord": ENVIRONMENT["DISCORD_WEBHOOK_URL"],
    "pagerduty": "0" * 32,
    "pushover_app": "a" * 30,
    "pushover_user": "u" * 30,
    "slack": _SLACK,
    "slack_url": _SLACK,
    "switch_url": "https://h.lan/ping",
    "audit": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr",
}
"""What is in files by their names; the others hold something that fits everywhere."""

DESTINATIONS: Mapping[str, Mapping[str, object]] = {
    "ops": {"type": "slack", "url": _SLACK},
    "phone": {"type": "ntfy", "topic": "t0p1c"},
    "audit": {"type": "http", "url": "https://audit.lan/hook"},
    "terminal": {"type": "console"},
}
"""What routes send to if the example does not say it."""

_FILE = re.compile(r"/(?:run/secrets|run/credentials/relay\.service|etc/relay/tls)/([\w.-]+)")
_TOP = frozenset(Config.model_fields)
_ROUTE = frozenset(list_keys(Route))
_DIED = {"type": "container", "action": "die", "cause": ["crashed", "oom"]}


def check_yaml(block: Block) -> Iterator[str]:
    """Yield what is wrong with an example, by the form that its first keys show."""
    try:
        keys = set(yaml.safe_load(block.text))
    except (yaml.YAMLError, TypeError) as error:
        yield f"is not YAML with keys at its top: {error}"
        return
    for form, check in _FORMS.items():
        if keys <= form:
            yield from check(block)
            return
    yield f"has keys of no form that is known: {', '.join(sorted(keys))}"


def check_config(block: Block) -> Iterator[str]:
    """Yield the errors and warnings of a configuration, or of sections of one."""
    yield from _load(complete(block.text))


def check_route(block: Block) -> Iterator[str]:
    """Yield the errors and warnings of some keys of a route."""
    rest = {"name": "example", "match": _DIED, "to": "ops"}
    keys = yaml.safe_load(block.text)
    text = block.text + yaml.safe_dump({k: v for k, v in rest.items() if k not in keys})
    first, *others = indent(text, "    ").splitlines(keepends=True)
    yield from _load(complete("routes:\n  - " + first.lstrip() + "".join(others)))


def complete(text: str) -> str:
    """Return the configuration that consists of these sections and what they need.

    What routes send to is among `DESTINATIONS`. Without routes, one sends to all destinations.
    """
    data = yaml.safe_load(text)
    named = {name for route in data.get("routes", ()) for name in _as_list(route.get("to", ()))}
    own = data.get("destinations", {})
    missing = {name: DESTINATIONS[name] for name in sorted(named - set(own))}
    if not own and not missing:
        missing = {"ops": DESTINATIONS["ops"]}
    if missing and own:
        data["destinations"] = {**own, **missing}
        text = yaml.safe_dump(data, sort_keys=False)
    elif missing:
        text += yaml.safe_dump({"destinations": {name: dict(to) for name, to in missing.items()}})
    if "routes" not in data:
        route = {"name": "example", "match": _DIED, "to": [*own, *missing]}
        text += yaml.safe_dump({"routes": [route]})
    return text


def _as_list(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _load(text: str) -> Iterator[str]:
    yield from errors(yaml.safe_load(text))  # what an editor shows
    with tempfile.TemporaryDirectory() as name:
        try:
            config = parse_config(
                write_secrets(text, Path(name)),
                file="example",
                environ=ENVIRONMENT,
                folder=Path(name),
            )
        except ConfigError as error:
            yield from map(str, error.problems)
            return
        warnings = [
            *find_warnings(config, DESTINATION_TYPES),
            *find_policy_warnings(config, build_policies(config), time_ns()),
        ]
    # What stands for the reader's own, such as an address at example.com, looks like a placeholder.
    yield from (it.message for it in warnings if "looks like a placeholder" not in it.message)


def write_secrets(text: str, folder: Path) -> str:
    """Write the files that a text names into a folder; return the text with their new paths."""

    def move(path: re.Match[str]) -> str:
        file = folder / path[1]
        file.write_text(SECRETS.get(path[1], "s3cret"))
        return str(file)

    return _FILE.sub(move, text)


def check_suite(block: Block) -> Iterator[str]:
    """Yield which tests fail; they are of the configuration above them, else of the example."""
    yield from _run(block, block.text)


def check_case(block: Block) -> Iterator[str]:
    """Yield what fails of a test without a name."""
    first, *others = indent(block.text, "    ").splitlines(keepends=True)
    yield from _run(block, "tests:\n  - name: example\n    " + first.lstrip() + "".join(others))


def _run(block: Block, suite: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.yaml"
        config.write_text(write_secrets(_find_tested(block), folder))
        (folder / "last-night.jsonl").write_bytes(b"\n".join(read_records("docker26")))
        file = folder / "tests.yaml"
        file.write_text(suite)
        try:
            for judgement in run_suite(load_suite(file, config, built_in, ENVIRONMENT)):
                if judgement.differences:
                    yield f"{judgement.case.name}: {judgement.differences}"
        except ConfigError as error:
            yield from map(str, error.problems)


def _find_tested(block: Block) -> str:
    """Return the last configuration above the tests on their page, else that of the repository."""
    above = takewhile(lambda each: each.line < block.line, find_blocks(block.page))
    found = [each.text for each in above if each.language == "yaml" and _is_config(each.text)]
    return complete(found[-1]) if found else (ROOT / "config.example.yaml").read_text()


def _is_config(text: str) -> bool:
    return set(yaml.safe_load(text)) <= _TOP


def check_compose(block: Block) -> Iterator[str]:
    """Yield what is wrong with a file for ``docker compose``, and with its service ``relay``.

    The schema of compose files itself is only asked where check-jsonschema is installed.
    """
    file = yaml.safe_load(block.text)
    if schema := _find_compose_schema():
        found = jsonschema.validators.validator_for(schema)(schema).iter_errors(file)
        yield from (f"{each.json_path}: {each.message}" for each in found)
    volumes = set(file.get("volumes") or ())
    for name, service in file["services"].items():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0] if isinstance(mount, str) else mount["source"]
            if not source.startswith((".", "/", "~")) and source not in volumes:
                yield f"{name}: the volume {source} is not declared"
    unknown = {
        each
        for each in file["services"].get("relay", {}).get("environment", {})
        if each.startswith("RELAY_") and each.removesuffix("_FILE") not in VARIABLES
    }
    yield from (f"{each} is no variable of relay's" for each in unknown)


def _find_compose_schema() -> Any:
    try:
        package = import_module("check_jsonschema.builtin_schemas")
    except ModuleNotFoundError:
        return None
    return package.get_builtin_schema("vendor.compose-spec")


def check_prometheus(block: Block) -> Iterator[str]:
    """Yield what Prometheus says about its configuration, if its checker is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return
    rules = ROOT / "deploy" / "prometheus" / "relay.rules.yaml"
    text = block.text.replace("relay.rules.yaml", str(rules))
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(re.sub(r"/etc/prometheus/\w+", file.name, text))
        file.flush()
        ended = subprocess.run(
            [promtool, "check", "config", file.name], capture_output=True, text=True, check=False
        )
    if ended.returncode != 0:
        yield f"{ended.stdout}{ended.stderr}"


_FORMS: Mapping[Set[str], Callable[[Block], Iterator[str]]] = {
    _TOP: check_config,
    _ROUTE: check_route,
    frozenset({"config", "environment", "tests"}): check_suite,
    frozenset(
        {"engine", "podman", "events", "recording", "expect", "expect_some", *STAGE_KEYS}
    ): check_case,
    frozenset({"services", "volumes", "networks", "secrets", "configs"}): check_compose,
    frozenset({"global", "scrape_configs", "rule_files", "alerting"}): check_prometheus,
}
"""Each form by the keys that it can have at its top."""
