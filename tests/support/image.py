"""Builds relay's image for tests; its base image holds the Python that runs the tests."""

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

from tests.support.engines import cache_folder
from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError, SandboxedEngine

REPOSITORY = Path(__file__).parents[2]
BUILD = REPOSITORY / "deploy" / "build"

BASE = "relay-base:1"
IMAGE = "relay:latest"

USER = 65532
"""The user and group that relay runs as in the image."""

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_PIP = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"
"""The wheels to install are in the base image, so that the build needs no network."""

_EXCLUDED = frozenset(
    {"site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo", "__pycache__"}
)
_ASSUMED = r"lib(?:c|dl|gcc_s|m|pthread|rt|stdc\+\+|util)"
"""The libraries that a wheel may expect on the system (PEP 600)."""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

FETCH_TIMEOUT_S = 120.0
BUILD_TIMEOUT_S = 300.0


def build(engine: SandboxedEngine) -> str:
    """Build relay's image in this engine, as a release does; return what the build printed.

    Raises `EngineError`.
    """
    engine.docker("import", "-", BASE, stdin=_build_base(fetch_wheels()))
    options = {"BASE": BASE, "BUILD_OPTIONS": "--network=none"}
    ended = subprocess.run(
        [BUILD, "image"],
        env={"DOCKER_HOST": engine.url, "PATH": SYSTEM_PATH, **options},
        capture_output=True,
        timeout=BUILD_TIMEOUT_S,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise EngineError(f"{ended.stdout[-2000:]}\n{ended.stderr}")
    return ended.stdout


def fetch_wheels() -> Path:
    """Return a folder with the wheels of the lock file; it is cached for the next run.

    Raises `EngineError` if they cannot be downloaded.
    """
    lock = REPOSITORY / "requirements.lock"
    key = hashlib.sha256(lock.read_bytes() + _VERSION.encode()).hexdigest()[:16]
    cached = cache_folder() / f"wheels-{key}"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as fresh:
            _download(lock, Path(fresh) / "wheels")
            (Path(fresh) / "wheels").replace(cached)
    return cached


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


def _build_base(wheels: Path) -> bytes:
    """Return a root file system as a tar: this Python, the libraries that it needs, and a shell."""
    home = Path(sys.base_prefix)
    library = home / "lib" / _VERSION
    program = (home / "bin" / _VERSION).resolve()
    extensions = library.glob("lib-dynload/*.so")
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.add(program, f"usr/local/bin/{_VERSION}")
        _add_link(tar, "usr/local/bin/python3", _VERSION)
        tar.add(library, f"usr/local/lib/{_VERSION}", filter=_exclude_unneeded)
        for needed in _find_libraries([program, *extensions]):
            tar.add(needed.resolve(), f"usr/lib/{needed.name}")
            if needed.name.startswith("ld-linux"):  # programs refer to the loader by its full path
                tar.add(needed.resolve(), str(needed).lstrip("/"))
        bundled = Path("/usr/share/python-wheels")  # Debian keeps pip for new environments here
        if bundled.is_dir():
            tar.add(bundled, str(bundled).lstrip("/"))
        if not _CERTIFICATES.exists():
            raise EngineError(f"an image needs {_CERTIFICATES}: install ca-certificates")
        tar.add(_CERTIFICATES.resolve(), str(_CERTIFICATES).lstrip("/"))
        tar.add(wheels, "wheels")
        _add_file(tar, "etc/pip.conf", _PIP)
        _add_folder(tar, "tmp", 0o1777)
        _add_shell(tar)
    return target.getvalue()


def _exclude_unneeded(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(member.name).name
    return None if name in _EXCLUDED or name.startswith("config-") else member


def _find_libraries(programs: Iterable[Path]) -> Iterator[Path]:
    """Yield the shared libraries that these programs load, and those that wheels expect."""
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


def _add_shell(tar: tarfile.TarFile) -> None:
    busybox = shutil.which("busybox", path=SYSTEM_PATH)
    if busybox is None:
        raise EngineError("an image needs busybox: install busybox-static")
    tar.add(Path(busybox).resolve(), "bin/busybox")
    _add_link(tar, "bin/sh", "busybox")
    _add_file(
        tar, "bin/strip", "#!/bin/sh\n", mode=0o755
    )  # which would only make the image smaller


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def _add_file(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text), mode
    tar.addfile(member, io.BytesIO(text.encode()))


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, mode
    tar.addfile(member)
