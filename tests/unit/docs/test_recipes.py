"""The recipes: each is a configuration with tests, and promises what a real engine's stream holds.

That each can be loaded, and does what the tests below it say, is a test of all blocks.
"""

import re
from pathlib import Path

import pytest
import yaml

from relay.destinations.catalog import parse_config
from relay.dryrun.history import Recording
from relay.dryrun.simulator import Simulator
from tests.streams import ENGINES, read_records
from tests.unit.docs.examples import ENVIRONMENT, write_secrets
from tests.unit.docs.pages import DOCS, blocks

PAGE = DOCS / "recipes.md"


def find_recipes() -> dict[str, list[str]]:
    """Return the YAML below each heading."""
    _, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    return {
        section.partition("\n")[0]: re.findall(
            r"^```yaml\n(.*?)^```", section, re.DOTALL | re.MULTILINE
        )
        for section in sections
    }


RECIPES = find_recipes()

DIED = ["failed", "oomed", "hostkilled", "looping", "shop-web-1"]
"""What crashed or ran out of memory in the recording, in its order; one of them four times."""


def test_every_block_belongs_to_a_recipe() -> None:
    """A configuration comes first, and what follows it are tests: nothing goes unchecked."""
    assert [text for texts in RECIPES.values() for text in texts] == blocks(PAGE, "yaml")
    for config, *tests in RECIPES.values():
        assert {"destinations", "routes"} <= yaml.safe_load(config).keys()
        assert all(yaml.safe_load(text).keys() == {"tests"} for text in tests)


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
    text = write_secrets(RECIPES[title][0], tmp_path)
    config = parse_config(text, file=title, environ=ENVIRONMENT, folder=tmp_path)
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
