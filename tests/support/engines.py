"""Fetches Docker engines of other versions from newer Debian suites into a cache folder.

``python -m tests.support.engines`` fetches those that are not there yet.
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
"""The programs kept from the packages. runc, docker-init and docker are the system's own."""

FETCH_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Release:
    """A version of Docker Engine, and the Debian suite that has it."""

    version: str
    """Only as many parts as do not change within the suite."""
    suite: str
    may_change: bool = False
    """Whether the suite may get another version at any time."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"docker-{self.version}"


RELEASES = (Release("26.1", "trixie"), Release("28.5", "sid", may_change=True))


@dataclass(frozen=True, slots=True)
class Mirror:
    """The mirror that the system's packages come from."""

    uri: str
    signed_by: str


def cache_folder() -> Path:
    """Return where engines are cached: ``$RELAY_ENGINES``, else a folder in the user's cache."""
    named = os.environ.get("RELAY_ENGINES")
    return Path(named) if named else Path.home() / ".cache" / "relay-engines"


def find(release: Release) -> Path:
    """Return a fetched engine's folder; raises `EngineError` if it is missing or incomplete."""
    cached = cache_folder() / release.name
    if not cached.exists():
        hint = "python -m tests.support.engines fetches it"
        raise EngineError(f"{release.name} is not in {cache_folder()}: {hint}")
    _verify(cached, release)
    return cached


def fetch(release: Release) -> Path:
    """Fetch an engine unless it is cached; return its folder.

    The folder is either complete or missing afterwards. Raises `EngineError` that says why the
    engine cannot be fetched.
    """
    cached = cache_folder() / release.name
    if cached.exists():
        try:
            return find(release)
        except EngineError:  # incomplete, or another version
            shutil.rmtree(cached)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{release.name}-", dir=cache_folder()) as name:
        work = Path(name)
        unpacked = _unpack(work, _download(work, release.suite))
        _verify(unpacked, release)
        try:
            unpacked.rename(cached)
        except OSError:
            return find(release)  # another process was faster
    return cached


def find_mirror(sources: Mapping[Path, str], codename: str) -> Mirror:
    """Return the mirror that has the suite ``codename``; ``sources`` are apt's files by path.

    Reads both of apt's formats (sources.list(5)). Raises `EngineError` if none has the suite.
    """
    for path, text in sources.items():
        parse = _parse_stanzas if path.suffix == ".sources" else _parse_lines
        for found, types, suites in parse(text):
            if "deb" in types and codename in suites:
                return found
    raise EngineError(
        f"no source of apt has the suite {codename!r}: {', '.join(map(str, sources))}"
    )


def _parse_stanzas(text: str) -> Iterator[tuple[Mirror, Sequence[str], Sequence[str]]]:
    for stanza in re.split(r"\n\s*\n", text):
        pairs = re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {key.lower(): value for key, value in pairs}
        uris = fields.get("uris", "").split()
        if uris and fields.get("enabled", "yes").strip() != "no":
            suites = fields.get("suites", "").split()
            yield Mirror(uris[0], fields.get("signed-by", "")), fields["types"].split(), suites


def _parse_lines(text: str) -> Iterator[tuple[Mirror, Sequence[str], Sequence[str]]]:
    for kind, options, uri, suite in re.findall(
        r"^(deb)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE
    ):
        key = re.search(r"signed-by=(\S+)", options)
        yield Mirror(uri, key[1] if key else ""), [kind], [suite]


def _system_mirror() -> Mirror:
    etc = Path("/etc/apt")
    listed = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    release = Path("/etc/os-release").read_text()
    codename = re.search(r'^VERSION_CODENAME="?(\w+)', release, re.MULTILINE)
    if codename is None:
        raise EngineError("/etc/os-release names no suite of Debian")
    return find_mirror({path: path.read_text() for path in listed if path.is_file()}, codename[1])


def _download(work: Path, suite: str) -> list[Path]:
    """Download the newest engine's packages from ``suite``, without changing the system's apt."""
    system = _system_mirror()
    for empty in ("lists/partial", "cache/archives/partial", "none"):
        (work / empty).mkdir(parents=True)
    lines = ["Types: deb", f"URIs: {system.uri}", f"Suites: {suite}", "Components: main"]
    if system.signed_by:
        lines.append(f"Signed-By: {system.signed_by}")
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
    """Unpack the packages, and copy the programs into a folder of their own."""
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
    version = _run(programs, str(programs / "dockerd"), "--version")
    if not version.startswith(f"Docker version {release.version}."):
        raise EngineError(f"{release.suite} has no Docker {release.version} any more: {version}")


def _run(where: Path, *command: str) -> str:
    """Run a command and return its output; raises `EngineError` with its error message."""
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        complaint = error.stderr.strip() or error.stdout.strip()
        raise EngineError(f"{' '.join(command)}: {complaint}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(str(error)) from None
    return done.stdout.strip()


def main() -> int:
    """Fetch all releases; return 1 if one is missing whose suite does not change."""
    is_missing = False
    for release in RELEASES:
        try:
            print(f"{release.name}: {fetch(release)}")  # noqa: T201
        except EngineError as error:
            print(f"{release.name}: cannot be fetched: {error}")  # noqa: T201
            is_missing |= not release.may_change
    return int(is_missing)


if __name__ == "__main__":
    sys.exit(main())
