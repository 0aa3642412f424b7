"""Where the configuration comes from, and what wins over what."""

from pathlib import Path

import pytest

from relay.config import ConfigOrigin, OriginKind, find_origin
from relay.config.origin import of_file
from relay.core.errors import ConfigError
from relay.destinations.catalog import default_config, load_located_config

YAML = """
destinations: {ops: {type: slack, url: "URL"}}
routes: [{name: all, to: ops}]
"""
SLACK = {"RELAY_SLACK_URL": "https://hooks.slack.com/services/x"}


class Folder:
    """A folder with three configurations, each with its own destination."""

    def __init__(self, path: Path) -> None:
        self.named = self._write(path / "named.yaml")
        self.chosen = self._write(path / "chosen.yaml")
        self.usual = self._write(path / "usual.yaml")
        self.environ = {"RELAY_CONFIG": str(self.chosen)}

    def _write(self, file: Path, url: str = "https://hooks.slack.com/x") -> Path:
        file.write_text(YAML.replace("URL", url).replace("ops", file.stem))
        return file

    def find(self, named: Path | None, **environ: str) -> ConfigOrigin:
        """The origin with the usual file in this folder."""
        return find_origin(named, environ, self.usual)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def destinations(origin: ConfigOrigin, **environ: str) -> list[str]:
    """The destinations of the configuration from there."""
    return list(load_located_config(origin, environ).config.destinations)


def test_the_order(folder: Folder) -> None:
    """The command line, the environment, the usual file, variables, and the terminal at last."""
    text = YAML.replace("URL", "https://x").replace("ops", "inline")
    assert destinations(folder.find(folder.named, **folder.environ)) == ["named"]
    assert destinations(folder.find(folder.named, RELAY_CONFIG_YAML=text)) == ["named"]
    assert destinations(folder.find(None, **folder.environ)) == ["chosen"]
    assert destinations(folder.find(None, RELAY_CONFIG_YAML=text)) == ["inline"]
    assert destinations(folder.find(None)) == ["usual"]
    folder.usual.unlink()
    assert destinations(folder.find(None, **SLACK), **SLACK) == ["slack"]
    assert destinations(folder.find(None)) == ["terminal"]


def test_two_whole_configurations(folder: Folder) -> None:
    """The environment may not have both."""
    with pytest.raises(ConfigError) as caught:
        folder.find(None, RELAY_CONFIG_YAML="x", **folder.environ)
    assert str(caught.value) == (
        "environment: RELAY_CONFIG_YAML: RELAY_CONFIG is set as well: keep one of the two"
    )


@pytest.mark.parametrize("how", ["RELAY_CONFIG", "RELAY_CONFIG_YAML", "usual"])
def test_a_variable_beside_a_configuration(how: str, folder: Folder) -> None:
    """It is an error, not silently left out, unless the configuration refers to it."""
    environ = dict(SLACK)
    if how == "RELAY_CONFIG":
        environ |= folder.environ
    if how == "RELAY_CONFIG_YAML":
        environ["RELAY_CONFIG_YAML"] = YAML.replace("URL", "https://x")
    origin = folder.find(None, **environ)
    with pytest.raises(ConfigError) as caught:
        load_located_config(origin, environ)
    assert str(caught.value) == (
        f"environment: RELAY_SLACK_URL: is set, but {origin.name} is the configuration and does "
        "not refer to it: remove the variable, or write ${RELAY_SLACK_URL} where its value belongs"
    )
    refers = YAML.replace("URL", "${RELAY_SLACK_URL}")
    folder.usual.write_text(refers)
    folder.chosen.write_text(refers)
    if how == "RELAY_CONFIG_YAML":
        environ["RELAY_CONFIG_YAML"] = refers
    assert destinations(folder.find(None, **environ), **environ) == ["ops"]


def test_a_variable_beside_a_file_of_the_command_line(folder: Folder) -> None:
    """The command line comes before the environment; the variable is only mentioned."""
    located = load_located_config(folder.find(folder.named, **SLACK), SLACK)
    assert list(located.config.destinations) == ["named"]
    assert located.unused_variables == ("RELAY_SLACK_URL",)


def test_a_comment_is_no_reference(folder: Folder) -> None:
    """Only a value refers to a variable."""
    folder.usual.write_text(YAML.replace("URL", "https://x") + "# ${RELAY_SLACK_URL}\n")
    with pytest.raises(ConfigError, match="does not refer to it"):
        load_located_config(folder.find(None, **SLACK), SLACK)


def test_other_variables_beside_a_configuration(folder: Folder) -> None:
    """A file may refer to variables of any name, so they are not relay's business."""
    environ = {"RELAY_IMAGE": "x", "RELAY_SLAK_URL": "y", "RELAY_HOST": "node-1"}
    assert destinations(folder.find(None, **environ), **environ) == ["usual"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "RELAY_CONFIG_YAML: holds no configuration: write 'destinations' and 'routes'"),
        ("a: [", "RELAY_CONFIG_YAML:1:5: is not YAML: "),
        ("a\udcff", "RELAY_CONFIG_YAML: is not UTF-8 text, on line 1"),
        ("#" * 2**20 + "#", "RELAY_CONFIG_YAML: is larger than 1 MiB"),
        (YAML, "RELAY_CONFIG_YAML:2:40: destinations.ops.url: the value is not an http or https"),
    ],
    ids=["empty", "no YAML", "no UTF-8", "too large", "a mistake"],
)
def test_a_text_with_a_mistake(text: str, wanted: str, folder: Folder) -> None:
    """Its lines are named as those of a file."""
    with pytest.raises(ConfigError) as caught:
        load_located_config(folder.find(None, RELAY_CONFIG_YAML=text), {})
    assert str(caught.value).startswith(wanted)


def test_nothing_where_something_is_required(folder: Folder) -> None:
    """The error names both cures; with either of them there is none."""
    folder.usual.unlink()
    with pytest.raises(ConfigError) as caught:
        folder.find(None, RELAY_REQUIRE_CONFIG="1")
    assert caught.value.exit_code == 2
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{folder.usual}: there is no such file, and no variable names")
    assert "docker run -e RELAY_SLACK_URL=https://…; also RELAY_DISCORD_URL, " in line
    assert f"docker run -v ./config.yaml:{folder.usual}:ro" in line
    assert folder.find(None, RELAY_REQUIRE_CONFIG="0").kind is OriginKind.BUILT_IN
    kind = folder.find(None, RELAY_REQUIRE_CONFIG="1", **SLACK).kind
    assert kind is OriginKind.VARIABLES
    folder.usual.write_text(YAML)
    assert folder.find(None, RELAY_REQUIRE_CONFIG="1").kind is OriginKind.FILE


def test_where_there_is_a_store(folder: Folder) -> None:
    """Only what is printed to a terminal is kept in memory."""
    folder.usual.unlink()
    assert folder.find(None, **SLACK).is_stored
    assert not folder.find(None).is_stored


def test_the_usual_place_may_not_be_looked_into(tmp_path: Path) -> None:
    """A path through a file is no place for a file."""
    (tmp_path / "file").touch()
    assert find_origin(None, {}, tmp_path / "file" / "config.yaml").kind is OriginKind.BUILT_IN


def test_the_built_in_configuration() -> None:
    """It needs nothing from the environment."""
    origin = find_origin(None, {}, Path("/nowhere"))
    assert load_located_config(origin, {}).config == default_config()


def test_a_file_by_itself(folder: Folder) -> None:
    """No variable counts for a file whose origin is only that file."""
    assert load_located_config(of_file(folder.named), SLACK).unused_variables == ()
