"""The recipes: each is a configuration, and does what it says."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from relay.config.origin import built_in
from relay.config.warnings import find_warnings
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from relay.dryrun.compare import run_suite
from relay.dryrun.history import Recording
from relay.dryrun.simulator import Simulator
from relay.dryrun.suite import load_suite
from relay.incidents.policy import build_policies
from relay.incidents.policy_warnings import find_policy_warnings
from tests.streams import ENGINES, read_records
from tests.unit.config.test_schema import errors
from tests.unit.docs.pages import DOCS, blocks

PAGE = DOCS / "recipes.md"
ENVIRONMENT = {
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/ops",
    "EDGE_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/edge",
}
FILES = {
    "/run/secrets/pagerduty": "0" * 32,
    "/run/secrets/pushover_app": "a" * 30,
    "/run/secrets/pushover_user": "u" * 30,
    "/run/secrets/switch_url": "https://hc-ping.com/test",
    "/run/secrets/topic": "containers",
    "/etc/relay/tls/ca.pem": "",
    "/etc/relay/tls/cert.pem": "",
    "/etc/relay/tls/key.pem": "",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A configuration, and the tests below it."""

    title: str
    text: str
    tests: tuple[str, ...]

    def at(self, folder: Path) -> str:
        """Its text, with files that are there."""
        text = self.text
        for path, content in FILES.items():
            file = folder / Path(path).name
            file.write_text(content)
            text = text.replace(path, str(file))
        return text


def recipes() -> list[Recipe]:
    """One below each heading."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        text, *tests = re.findall(r"^```yaml\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        found.append(Recipe(section.partition("\n")[0], text, tuple(tests)))
    return found


RECIPES = {recipe.title: recipe for recipe in recipes()}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)

DIED = ["failed", "oomed", "hostkilled", "looping", "shop-web-1"]
"""What crashed or ran out of memory in the recording, in its order; one of them four times."""


@every_recipe
def test_it_can_be_loaded(recipe: Recipe, tmp_path: Path) -> None:
    """As a whole, with the variables and the secrets that it asks for; editors agree.

    Nothing of it is a mistake; what looks like a placeholder is one.
    """
    assert errors(yaml.safe_load(recipe.text)) == []
    text = recipe.at(tmp_path)
    config = parse_config(text, file=recipe.title, environ=ENVIRONMENT, folder=tmp_path)
    issues = [
        *find_warnings(config, DESTINATION_TYPES),
        *find_policy_warnings(config, build_policies(config)),
    ]
    warnings = [issue.message for issue in issues]
    assert [text for text in warnings if "placeholder" not in text] == []


@every_recipe
def test_it_does_what_it_says(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests below it hold."""
    config = tmp_path / "config.yaml"
    config.write_text(recipe.at(tmp_path))
    for text in recipe.tests:
        file = tmp_path / "tests.yaml"
        file.write_text(text)
        for judgement in run_suite(load_suite(file, config, built_in, ENVIRONMENT)):
            assert not judgement.differences, judgement.case.name


def test_every_block_belongs_to_a_recipe() -> None:
    """A configuration comes first, and what follows it are tests: nothing goes unchecked."""
    inside = [text for recipe in RECIPES.values() for text in (recipe.text, *recipe.tests)]
    assert inside == blocks(PAGE, "yaml")
    for recipe in RECIPES.values():
        assert {"destinations", "routes"} <= yaml.safe_load(recipe.text).keys()
        assert all(yaml.safe_load(text).keys() == {"tests"} for text in recipe.tests)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (
            "Slack, when a container crashes",
            [
                *(("crashed", "opened", name) for name in DIED[:-1]),
                ("unhealthy", "opened", "sick"),
                ("crashed", "opened", DIED[-1]),
            ],
        ),
        ("Only my compose project", [("died", "opened", "shop-web-1")]),
        (
            "PagerDuty, with a severity",
            [
                *(("crashed", "opened", name) for name in DIED[:-1]),
                ("crashed", "crash_looping", "looping"),
                ("crashed", "opened", DIED[-1]),
            ],
        ),
    ],
)
def test_a_recording(
    engine: str, title: str, expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    """What a real engine said comes to what the recipe promises, and to nothing else.

    All containers are removed at the end of the recording, so every incident is resolved.
    """
    config = parse_config(
        RECIPES[title].at(tmp_path), file=title, environ=ENVIRONMENT, folder=tmp_path
    )
    simulator = Simulator(config)
    batches = simulator.run(Recording(simulator, read_records(engine)))
    sent = [each.notification for batch in batches for each in batch.planned]
    reported = [
        (notification.route, report.reason, report.subject)
        for notification in sent
        if notification.update is not None
        for report in notification.update.incidents
    ]
    assert None not in [notification.update for notification in sent]
    assert [each for each in reported if each[1] != "resolved"] == expected
    resolved = [name for _, reason, name in reported if reason == "resolved"]
    assert sorted(resolved) == sorted({name for _, _, name in expected})
