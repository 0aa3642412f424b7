"""relay's image, built on the spot: its base is the Python that runs the tests."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.engines import folder
from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError, SandboxedEngine

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "container" / "Dockerfile"

BASE = "relay-base:1"
IMAGE = "relay:test"

USER = 65532
"""Whom the image runs as."""

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_PIP = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"
"""What is to be installed lies in the base, so that a build needs no network."""

_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo", "__pycache__"}
)
_ASSUMED = r"lib(?:c|dl|gcc_s|m|pthread|rt|stdc\+\+|util)"
"""The libraries that a wheel may take for granted (PEP 600)."""

FETCH_TIMEOUT_S = 120.0


def build(engine: SandboxedEngine) -> str:
    """Build relay's image in this engine; returns what the build printed. Raises EngineError."""
    engine.docker("import", "-", BASE, stdin=_base(_wheels()))
    return engine.docker(
        "build",
        "--network=none",
        f"--build-arg=BASE={BASE}",
        f"--file={DOCKERFILE}",
        f"--tag={IMAGE}",
        str(REPOSITORY),
    )


def _wheels() -> Path:
    """A folder with the wheels of the lock file, kept for the next run.

    Raises EngineError if they cannot be downloaded.
    """
    lock = REPOSITORY / "requirements.lock"
    key = hashlib.sha256(lock.read_bytes() + _VERSION.encode()).hexdigest()[:16]
    kept = folder() / f"wheels-{key}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as fresh:
            _download(lock, Path(fresh) / "wheels")
            (Path(fresh) / "wheels").replace(kept)
    return kept


def _download(lock: Path, wheels: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--no-deps"]
    try:
        subprocess.run(
            [*pip, "--require-hashes", f"--requirement={lock}", f"--dest={wheels}"],
            check=True,
            capture_output=True,
            timeout=FETCH_TIMEOUT_S,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        raise EngineError(f"the image's wheels cannot be downloaded: {error.stderr}") from None


def _base(wheels: Path) -> bytes:
    """A file system, as a tar: this Python, the libraries that it needs, a shell."""
    home = Path(sys.base_prefix)
    library = home / "lib" / _VERSION
    program = (home / "bin" / _VERSION).resolve()
    extensions = library.glob("lib-dynload/*.so")
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.add(program, f"usr/local/bin/{_VERSION}")
        _link(tar, "usr/local/bin/python3", _VERSION)
        tar.add(library, f"usr/local/lib/{_VERSION}", filter=_needed)
        for needed in _libraries([program, *extensions]):
            tar.add(needed.resolve(), f"usr/lib/{needed.name}")
            if needed.name.startswith("ld-linux"):  # a program names its loader by the whole path
                tar.add(needed.resolve(), str(needed).lstrip("/"))
        bundled = Path("/usr/share/python-wheels")  # where Debian has pip for new environments
        if bundled.is_dir():
            tar.add(bundled, str(bundled).lstrip("/"))
        tar.add(wheels, "wheels")
        _file(tar, "etc/pip.conf", _PIP)
        _folder(tar, "tmp", 0o1777)
        _shell(tar)
    return target.getvalue()


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(member.name).name
    return None if name in _LEFT_OUT or name.startswith("config-") else member


def _libraries(programs: Iterable[Path]) -> Iterator[Path]:
    """The shared libraries that these load, and those that wheels take for granted."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE))
    cached = subprocess.run(
        ["ldconfig", "-p"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": SYSTEM_PATH},
    ).stdout
    found |= set(re.findall(rf"{_ASSUMED}\.so\.\d \(libc6,.*=> (\S+)", cached))
    yield from (Path(each) for each in sorted(found))


def _shell(tar: tarfile.TarFile) -> None:
    busybox = shutil.which("busybox", path=SYSTEM_PATH)
    if busybox is None:
        raise EngineError("an image needs busybox: install busybox-static")
    tar.add(Path(busybox).resolve(), "bin/busybox")
    for command in ("sh", "mkdir", "chmod", "ls", "find", "cat", "touch", "false"):
        _link(tar, f"bin/{command}", "busybox")


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def _file(tar: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text), 0o644
    tar.addfile(member, io.BytesIO(text.encode()))


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, mode
    tar.addfile(member)
