"""What a release is built from: bounded dependencies, one version, pinned and modest workflows."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import relay

TOP = Path(__file__).parents[3]
BUILD = TOP / "deploy" / "build"
WORKFLOWS = sorted((TOP / ".github" / "workflows").glob("*.yml"))


def requirements() -> Iterator[str]:
    """Every requirement of ``pyproject.toml``."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    yield from project["build-system"]["requires"]
    yield from project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        yield from extra
    for group in project["dependency-groups"].values():
        yield from group


@pytest.mark.parametrize("requirement", sorted(set(requirements())))
def test_every_dependency_has_both_bounds(requirement: str) -> None:
    """A new major version cannot break an installation that takes no lock file."""
    operators = {it.operator for it in Requirement(requirement).specifier}
    assert operators == {">=", "<"}


def run_build(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUILD, *arguments], capture_output=True, text=True, check=False)


def test_the_version_has_one_place() -> None:
    """The build script reads it there, and the package too."""
    assert run_build("version").stdout.strip() == relay.__version__
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["version"]["path"] == "relay/__init__.py"
    assert "version" not in project["project"]


@pytest.mark.parametrize("tag", ["v9.9.9", relay.__version__, ""])
def test_a_tag_of_another_version_is_refused(tag: str) -> None:
    """It says what does not agree."""
    ended = run_build("version", tag)
    assert ended.returncode == 2
    assert f"relay/__init__.py says {relay.__version__}" in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("all",), ("publish",), ("image", "now")])
def test_what_the_build_script_does_not_know(arguments: tuple[str, ...]) -> None:
    """It prints how it is used."""
    ended = run_build(*arguments)
    assert ended.returncode == 2
    assert "deploy/build package" in ended.stderr


def workflow(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_actions_are_pinned(path: Path) -> None:
    """To a commit, with its version in a comment; or they are in this repository."""
    used = re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE)
    assert used
    for each in used:
        assert re.match(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$|\./\.github/", each), each


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_no_workflow_has_more_rights_than_its_jobs_need(path: Path) -> None:
    """Nothing may be written but by the job that publishes it; there is no secret to steal."""
    found = workflow(path)
    assert found["permissions"] in ({}, {"contents": "read"})
    assert "secrets." not in path.read_text()
    writes = {
        name: {right for right, level in job.get("permissions", {}).items() if level == "write"}
        for name, job in found["jobs"].items()
    }
    allowed = {"pypi": {"id-token"}, "image": {"packages", "id-token", "attestations"}}
    assert {name: rights for name, rights in writes.items() if rights} in ({}, allowed)


def test_nothing_is_published_that_was_not_tested() -> None:
    """Nor before somebody has approved it."""
    jobs = workflow(TOP / ".github" / "workflows" / "release.yml")["jobs"]
    for name in ("pypi", "image"):
        assert jobs[name]["needs"] == ["test", "package"]
        assert jobs[name]["environment"]
