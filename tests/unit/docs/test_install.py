"""The pages about installing: a shell can run their commands, and these do what the pages say."""

import re
import sqlite3
from pathlib import Path

import pytest

from relay.store.outbox import open_outbox
from tests.unit.cli.cli_store import clear_variables, run
from tests.unit.docs.pages import DOCS, PAGES, ROOT, VARIABLES, blocks, find_variables, page_name
from tests.unit.store.samples import make_commit, make_notification

INSTALL = (DOCS / "install.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_variables_are_relays(page: Path) -> None:
    """None is misspelled; ``RELAY_IMAGE`` is the stack's."""
    assert find_variables(page) <= VARIABLES | {"RELAY_IMAGE"}


@pytest.mark.parametrize(
    "name", ["README.md", "docs/install.md", "docs/destinations/telegram.md", "docs/faq.md"]
)
def test_there_are_variables(name: str) -> None:
    """The pages are read as intended."""
    assert find_variables(ROOT / name)


def test_a_file_made_of_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page adds to that of ``relay init`` is accepted by ``relay check``."""
    (line,) = re.findall(r"^echo '(store: .+)' >> /etc/relay/config\.yaml$", INSTALL, re.MULTILINE)
    file = tmp_path / "config.yaml"
    clear_variables(monkeypatch)
    monkeypatch.setenv("RELAY_CONFIG", str(file))
    monkeypatch.setenv("RELAY_SLACK_URL", "https://hooks.slack.com/services/T0/B0/c")
    assert run("init").exit_code == 0
    with file.open("a") as text:
        text.write(f"{line}\n")
    checked = run("check")
    assert checked.exit_code == 0
    assert "store /var/lib/relay/relay.db\n" in checked.stdout


async def test_a_backup_of_a_store_in_use(tmp_path: Path) -> None:
    """SQLite's backup has everything that is committed, and is a store that relay opens."""
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        with (
            sqlite3.connect(tmp_path / "relay.db") as source,
            sqlite3.connect(tmp_path / "copy.db") as copy,
        ):
            source.backup(copy)
    expected = rows(tmp_path / "relay.db")
    assert expected
    assert rows(tmp_path / "copy.db") == expected
    async with open_outbox(tmp_path / "copy.db"):
        pass


def test_what_an_older_relay_says() -> None:
    """It is quoted as in troubleshooting, whose quotations are compared with the code."""
    (said,) = (text.strip() for text in blocks(DOCS / "install.md", "text"))
    assert said in (DOCS / "troubleshooting.md").read_text()


def rows(file: Path) -> list[tuple[object, ...]]:
    """The deliveries of a store."""
    with sqlite3.connect(file) as store:
        return store.execute("SELECT * FROM deliveries ORDER BY 1").fetchall()
