"""Import contracts: floors of packages, no circle of modules, no private name of another module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_contract_is_kept() -> None:
    """Those in pyproject.toml, each with a line that says why it is there."""
    # in a process of its own, because import-linter turns off every logger there is
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    lint = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """The modules of relay that a module imports from, each with a name that it imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("relay"):
            yield from ((node.module, alias.name) for alias in node.names)


def modules() -> dict[str, Path]:
    """Every module of relay by its dotted name."""
    files = sorted((ROOT / "relay").rglob("*.py"))
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return dict(zip((name.removesuffix(".__init__") for name in names), files, strict=True))


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """Neither directly nor through others, imports inside functions included."""
    found = modules()
    graph: dict[str, set[str]] = {}
    for module, file in found.items():
        targets = {
            f"{source}.{name}" if f"{source}.{name}" in found else source
            for source, name in imported(file)
        }
        graph[module] = targets - {module}
    TopologicalSorter(graph).prepare()


def test_no_module_imports_a_private_name_of_another() -> None:
    """What starts with an underscore is used in its own module only."""
    private = [
        f"{module}: {source}.{name}"
        for module, file in modules().items()
        for source, name in imported(file)
        if name.startswith("_") and name != "__version__"
    ]
    assert private == []


def test_one_function_starts_all_tasks() -> None:
    """So that each has a name (see `relay.core.tasks.spawn`)."""
    starting = ("create_task(", "ensure_future(")
    found = [
        module
        for module, file in modules().items()
        if any(call in file.read_text(encoding="utf-8") for call in starting)
    ]
    assert found == ["relay.core.tasks"]
