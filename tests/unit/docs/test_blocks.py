"""Every fenced block of the pages is what its language says, and true as far as that can be told.

A page is covered as soon as it is there. A block in a language that is not in `CHECKS` fails: there
is no other way past these tests. What the commands do is tried by ``tests/acceptance``.
"""

import json
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from relay.core.notification import build_notification
from relay.destinations.common.document import render_document
from tests.unit.destinations.samples import CRASH
from tests.unit.destinations.updates import CRASH_LOOPING
from tests.unit.docs import test_mistakes
from tests.unit.docs.commands import check_shell
from tests.unit.docs.examples import check_yaml
from tests.unit.docs.pages import PAGES, ROOT, Block, find_blocks, page_name, prose
from tests.unit.docs.printed import check_quotation

GENERATED = {"docs/mistakes.md": test_mistakes.test_it_is_current}
"""Pages that a program writes with all their blocks, and the test that compares them with it."""

QUADLET_KEYS = {"UserNS", "PodmanArgs", "GroupAdd", "User", "Volume", "Secret", "Environment"}
"""The keys for ``[Container]`` that the pages use, of those in podman-systemd.unit(5)."""


def check_json(block: Block) -> Iterator[str]:
    """Yield what is wrong with an example of what relay sends: it has the keys of one, in order."""
    try:
        shown = json.loads(block.text)
    except ValueError as error:
        yield f"is not JSON: {error}"
        return
    if not any(has_keys_of(sent, shown) for sent in find_payloads()):
        yield "is no payload that relay sends: its keys, or their order, are others"


def find_payloads() -> Iterator[dict[str, Any]]:
    """Yield the body of an event, that of a message about incidents, and what that one has more."""
    event = json.loads(render_document(build_notification("died", CRASH), "https://h.lan").body)
    update = json.loads(render_document(CRASH_LOOPING, "https://h.lan").body)
    yield from (event, update)
    yield {key: value for key, value in update.items() if key not in event}


def has_keys_of(sent: Any, shown: Any) -> bool:
    """Whether both have the same keys at every depth; of a list the first item is compared."""
    if isinstance(sent, dict) and isinstance(shown, dict):
        free = "attributes" in sent  # an actor's are those of its container
        return list(sent) == list(shown) and all(
            (key == "attributes" and free) or has_keys_of(sent[key], shown[key]) for key in sent
        )
    if isinstance(sent, list) and isinstance(shown, list):
        return not sent or not shown or has_keys_of(sent[0], shown[0])
    return isinstance(sent, dict) == isinstance(shown, dict)


def check_unit(block: Block) -> Iterator[str]:
    """Yield what is wrong with a drop-in for relay's unit or quadlet."""
    unit = ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.optionxform = str  # type: ignore[assignment, method-assign] # case counts
    unit.read_string(block.text)
    if unit.has_section("Container"):
        yield from (f"unknown key {key}" for key in {*unit["Container"]} - QUADLET_KEYS)
    elif analyze := shutil.which("systemd-analyze"):
        yield from verify_unit(analyze, block.text) - verify_unit(analyze, "")


def verify_unit(analyze: str, drop_in: str) -> set[str]:
    """Return what systemd complains of in relay's unit with this at its end.

    The unit itself has keys that an older systemd does not know.
    """
    shipped = ROOT / "deploy" / "systemd" / "relay.service"
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder) / shipped.name
        unit.write_text(f"{shipped.read_text()}\n{drop_in}")
        ended = subprocess.run(
            [analyze, "--recursive-errors=no", "verify", unit],
            capture_output=True,
            text=True,
            check=False,
        )
    return {line.rpartition("/")[2] for line in ended.stderr.splitlines()}


def check_mermaid(block: Block) -> Iterator[str]:
    """Yield what Mermaid would not draw: lines that are no nodes, arrows or groups."""
    first, *lines = block.text.splitlines()
    if not re.fullmatch(r"flowchart (LR|TD)", first):
        yield f"{first!r} is no kind of diagram that the pages use"
    node = r"\w+(\[[^\[\]]+\]|\(\[[^\[\]]+\]\)|\[\([^()]+\)\])?"
    nodes = rf"{node}( & {node})*"
    statement = re.compile(rf"{nodes}( -->(\|[^|]+\|)? {nodes})*|subgraph \w+ \[[^\[\]]+\]|end")
    yield from (f"{line!r}" for line in lines if not statement.fullmatch(line.strip()))
    if sum(line.strip().startswith("subgraph") for line in lines) != sum(
        line.strip() == "end" for line in lines
    ):
        yield "a subgraph has no end"


def check_python(block: Block) -> Iterator[str]:
    """Yield why Python cannot compile a program."""
    try:
        compile(block.text, block.place, "exec")
    except SyntaxError as error:
        yield str(error)


def check_toml(block: Block) -> Iterator[str]:
    """Yield why a text is not TOML."""
    try:
        tomllib.loads(block.text)
    except tomllib.TOMLDecodeError as error:
        yield str(error)


CHECKS: Mapping[str, Callable[[Block], Iterator[str]]] = {
    "console": check_shell,
    "ini": check_unit,
    "json": check_json,
    "mermaid": check_mermaid,
    "python": check_python,
    "sh": check_shell,
    "text": check_quotation,
    "toml": check_toml,
    "yaml": check_yaml,
}
"""What is checked of a block, by its language."""


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_is_true(page: Path) -> None:
    """Each is in a language that is known, and nothing is wrong with it."""
    if page_name(page) in GENERATED:
        return
    assert [problem for block in find_blocks(page) for problem in find_problems(block)] == []


def find_problems(block: Block) -> Iterator[str]:
    """Yield what is wrong with a block, with its place."""
    check = CHECKS.get(block.language)
    if check is None:
        yield f"{block.place}: no test knows the language {block.language!r}: see CHECKS"
        return
    for problem in check(block):
        yield f"{block.place}: {problem}"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("", "relay run"),
        ("yml", "routes: []"),
        ("yaml", "routes: [{name: a, mach: {name: x}, to: ops}]"),
        ("yaml", "routes: [{name: a, match: {action: crash}, to: ops}]"),
        ("yaml", "include: {log: 20}"),
        ("yaml", "services: {relay: {image: relay, environment: {RELAY_SLACK_ULR: x}}}"),
        ("yaml", "services: {relay: {image: relay, volumes: ['state:/var/lib/relay']}}"),
        ("yaml", "tests: [{name: a, events: [{action: die, name: a, exit_code: 1}], expect: []}]"),
        ("yaml", "what: is this"),
        ("json", '{"id": "ntf_1"}'),
        ("json", '{"id": '),
        ("sh", "relay check --strictly"),
        ("sh", "relay send"),
        ("sh", "docker exec relay relay sned slack"),
        ("sh", "docker run --rm relay init --to -"),
        ("sh", "echo 'not closed"),
        ("sh", "docker build -f deploy/Dockerfile ."),
        ("console", "relay check"),
        ("console", "$ relay destination enabel ops"),
        ("ini", "[Container]\nUsrNS=host"),
        ("mermaid", "flowchart LR\n  a --> [b]"),
        ("mermaid", "flowchart LR\n  subgraph a [b]"),
        ("python", "def"),
        ("text", "relay: this is never printed"),
        ("toml", "a ="),
    ],
)
def test_what_is_not_true_is_found(language: str, text: str) -> None:
    """Each of these has a mistake."""
    block = Block(ROOT / "README.md", 1, language, f"{text}\n")
    assert list(find_problems(block))


def test_a_block_that_is_not_closed(tmp_path: Path) -> None:
    """It would hide the rest of its page."""
    page = tmp_path / "page.md"
    page.write_text("~~~~sh\nrelay run\n~~~\n")
    with pytest.raises(ValueError, match="is not closed"):
        find_blocks(page)


def test_blocks_of_a_list(tmp_path: Path) -> None:
    """Their indentation is the list's; a longer fence has the shorter inside."""
    page = tmp_path / "page.md"
    page.write_text("1. First:\n\n   ````sh\n   a\n     ```\n   ````\n2. Then.\n")
    assert find_blocks(page) == (Block(page, 3, "sh", "a\n  ```\n"),)
    assert prose(page) == "1. First:\n\n2. Then.\n"
