"""Engines of other ages than the machine's own, out of Debian's newer suites into a cache folder.

``python -m tests.support.engines`` fetches what is not there yet.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.sandboxed_engine import EngineError

PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy")
"""What is kept of the packages; runc, docker-init and the docker command are the machine's own."""

FETCH_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Release:
    """A Docker Engine of one age and the suite of Debian that has it."""

    version: str
    """As far as it is sure not to change within the suite."""
    suite: str
    moving: bool = False
    """Whether the suite may go on to another version at any time."""

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"docker-{self.version}"


RELEASES = (Release("26.1", "trixie"), Release("28.5", "sid", moving=True))


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where the machine gets its own packages from."""

    uri: str
    signed_by: str


def folder() -> Path:
    """Where engines are kept: ``$RELAY_ENGINES``, else a folder in the user's cache."""
    named = os.environ.get("RELAY_ENGINES")
    return Path(named) if named else Path.home() / ".cache" / "relay-engines"


def find(release: Release) -> Path:
    """The folder of the engine's programs; raises EngineError if it is not there or not whole."""
    kept = folder() / release.name
    if not kept.exists():
        hint = "python -m tests.support.engines fetches it"
        raise EngineError(f"{release.name} is not in {folder()}: {hint}")
    _verify(kept, release)
    return kept


def fetch(release: Release) -> Path:
    """The folder of the engine's programs, fetched unless it is there.

    Either all of it is there at the end or none. Raises EngineError that says why it cannot be had.
    """
    kept = folder() / release.name
    if kept.exists():
        try:
            return find(release)
        except EngineError:
            shutil.rmtree(kept)
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{release.name}-", dir=folder()) as name:
        work = Path(name)
        unpacked = _unpack(work, _download(work, release.suite))
        _verify(unpacked, release)
        try:
            unpacked.rename(kept)
        except OSError:
            return find(release)  # somebody else was faster
    return kept


def mirror(sources: Mapping[Path, str], codename: str) -> Mirror:
    """Of the texts of apt's source files, by path, the mirror that has the suite ``codename``.

    Both of apt's formats are read (sources.list(5)). Raises EngineError where none has it.
    """
    for path, text in sources.items():
        parse = _stanzas if path.suffix == ".sources" else _lines
        for found, types, suites in parse(text):
            if "deb" in types and codename in suites:
                return found
    raise EngineError(
        f"no source of apt has the suite {codename!r}: {', '.join(map(str, sources))}"
    )


def _stanzas(text: str) -> Iterator[tuple[Mirror, Sequence[str], Sequence[str]]]:
    for stanza in re.split(r"\n\s*\n", text):
        pairs = re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {key.lower(): value for key, value in pairs}
        uris = fields.get("uris", "").split()
        if uris and fields.get("enabled", "yes").strip() != "no":
            suites = fields.get("suites", "").split()
            yield Mirror(uris[0], fields.get("signed-by", "")), fields["types"].split(), suites


def _lines(text: str) -> Iterator[tuple[Mirror, Sequence[str], Sequence[str]]]:
    for kind, options, uri, suite in re.findall(
        r"^(deb)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE
    ):
        key = re.search(r"signed-by=(\S+)", options)
        yield Mirror(uri, key[1] if key else ""), [kind], [suite]


def _own_mirror() -> Mirror:
    etc = Path("/etc/apt")
    listed = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    release = Path("/etc/os-release").read_text()
    codename = re.search(r'^VERSION_CODENAME="?(\w+)', release, re.MULTILINE)
    if codename is None:
        raise EngineError("/etc/os-release names no suite of Debian")
    return mirror({path: path.read_text() for path in listed if path.is_file()}, codename[1])


def _download(work: Path, suite: str) -> list[Path]:
    """The packages of the newest engine in ``suite``, with nothing of the machine's apt touched."""
    own = _own_mirror()
    for empty in ("lists/partial", "cache/archives/partial", "none"):
        (work / empty).mkdir(parents=True)
    lines = ["Types: deb", f"URIs: {own.uri}", f"Suites: {suite}", "Components: main"]
    if own.signed_by:
        lines.append(f"Signed-By: {own.signed_by}")
    (work / "fetch.sources").write_text("\n".join([*lines, ""]))
    options = [
        f"Dir::Etc::SourceList={work}/fetch.sources",
        f"Dir::Etc::SourceParts={work}/none",
        f"Dir::Etc::PreferencesParts={work}/none",
        "Dir::Etc::Preferences=/dev/null",
        f"Dir::State::Lists={work}/lists",
        "Dir::State::Status=/dev/null",
        f"Dir::Cache={work}/cache",
        "Acquire::Languages=none",
        "Acquire::Retries=3",
        "APT::Sandbox::User=root",
    ]
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    _run(work, *apt, "update", "--error-on=any")
    _run(work, *apt, "download", "docker.io", "containerd")
    return sorted(work.glob("*.deb"))


def _unpack(work: Path, packages: Sequence[Path]) -> Path:
    """The programs, alone in a folder."""
    for package in packages:
        _run(work, "dpkg", "-x", str(package), str(work / "all"))
    programs = work / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name, path=f"{work}/all/usr/sbin:{work}/all/usr/bin")
        if found is None:
            raise EngineError(f"{name} is not in {', '.join(it.name for it in packages)}")
        shutil.copy2(found, programs / name)
    return programs


def _verify(programs: Path, release: Release) -> None:
    said = _run(programs, str(programs / "dockerd"), "--version")
    if not said.startswith(f"Docker version {release.version}."):
        raise EngineError(f"{release.suite} has no Docker {release.version} any more: {said}")


def _run(where: Path, *command: str) -> str:
    """What it prints; raises EngineError with its complaint, or that it is not there."""
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as failed:
        complaint = failed.stderr.strip() or failed.stdout.strip()
        raise EngineError(f"{' '.join(command)}: {complaint}") from None
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise EngineError(str(failed)) from None
    return done.stdout.strip()


def main() -> int:
    """Fetch every release; 1 if one is missing that does not move."""
    missing = False
    for release in RELEASES:
        try:
            print(f"{release.name}: {fetch(release)}")  # noqa: T201
        except EngineError as failed:
            print(f"{release.name}: not to be had: {failed}")  # noqa: T201
            missing |= not release.moving
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
