"""The pages about installing: a shell can run their commands, and these do what the pages say."""

import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml

from relay.store.outbox import open_outbox
from tests.unit.cli.cli_store import clear_variables, run
from tests.unit.docs.pages import DOCS, PAGES, ROOT, VARIABLES, blocks, find_variables
from tests.unit.store.samples import make_commit, make_notification

INSTALL = (DOCS / "install.md").read_text()
SHELL = [(page, text) for page in PAGES for text in blocks(page, "sh")]
FOLDERS = {"deploy", "tests", "tools", "docs"}


@pytest.mark.parametrize(("page", "text"), SHELL, ids=[page.name for page, _ in SHELL])
def test_a_shell_can_read_it(page: Path, text: str) -> None:
    """Each block for a shell is one that bash can parse, with no quote left open."""
    bash = shutil.which("bash")
    assert bash is not None
    ended = subprocess.run(
        [bash, "-n", "-c", text], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), page.name


@pytest.mark.parametrize(("page", "text"), SHELL, ids=[page.name for page, _ in SHELL])
def test_the_files_are_there(page: Path, text: str) -> None:
    """A file of the repository that a command names exists."""
    named = re.findall(r"(?<![\w/.$-])([\w.-]+/[\w./-]+|requirements[\w-]*\.lock)", text)
    files = {each for each in named if each.split("/")[0] in FOLDERS or each.endswith(".lock")}
    assert [each for each in files if not (ROOT / each).exists()] == [], page.name


@pytest.mark.parametrize(
    "name", ["README.md", "docs/install.md", "docs/credentials.md", "docs/faq.md"]
)
def test_the_variables_are_relays(name: str) -> None:
    """None is misspelled."""
    named = find_variables(ROOT / name)
    assert named
    assert named <= VARIABLES


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


def test_the_stack_of_the_faq() -> None:
    """It gives relay the socket, a volume for its store, and a variable that relay knows."""
    (text,) = blocks(DOCS / "faq.md", "yaml")
    stack = yaml.safe_load(text)
    relay = stack["services"]["relay"]
    assert set(relay["environment"]) <= VARIABLES
    assert "/var/run/docker.sock:/var/run/docker.sock:ro" in relay["volumes"]
    (store,) = (each for each in relay["volumes"] if each.endswith(":/var/lib/relay"))
    assert store.partition(":")[0] in stack["volumes"]


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
