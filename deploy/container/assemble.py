"""Puts the image's file system together: what relay loads, and nothing else.

It runs where the image is built, with the Python and the system that the image gets: ``python3
assemble.py FOLDER``. The folder gets this Python without what relay never imports, the virtual
environment ``/opt/relay``, the shared libraries that both load, certificates, time zones, and the
records of the system's packages, so that scanners recognise them. There is no shell, no package
manager, and no other program.
"""

import compileall
import os
import py_compile
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

RELAY = Path("/opt/relay")
STATE = Path("/var/lib/relay")
USER = 65532

NEVER_IMPORTED = frozenset(
    (
        *("__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "turtle.py"),
        *("ensurepip", "venv", "lib2to3", "pydoc_data", "site-packages", "dist-packages"),
    )
)
"""Folders and files of the standard library."""
UNUSED_EXTENSIONS = (
    "_ctypes_test*",
    "_curses*",
    "_dbm*",
    "_gdbm*",
    "_test*",
    "_tkinter*",
    "readline*",
    "xx*",
)
"""Extension modules that relay never imports, with libraries that nothing else needs."""
ONLY_TO_BUILD = frozenset((".c", ".cpp", ".h", ".pxd", ".pxi", ".pyi", ".pyx"))
"""What packages ship for compilers and type checkers."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/root:/nologin\nrelay:x:{USER}:{USER}:relay:{STATE}:/nologin\n",
    "etc/group": f"root:x:0:\nrelay:x:{USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}

PACKAGES = Path("/var/lib/dpkg")


def main(image: Path) -> None:
    """Assemble the image's files in a new folder."""
    copied = [
        *copy_python(image),
        *copy_tree(RELAY, image, frozenset(("__pycache__", "include", "tests"))),
    ]
    install_programs(image)
    strip(within(image, RELAY))
    # The same bytes at each build: files that are read-only need no time stamp to be trusted.
    compileall.compile_dir(
        image,
        stripdir=str(image),
        prependdir="/",
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    system = [*copy_libraries(image, copied), *copy_data(image)]
    record_packages(image, [*copied, *system])
    for name, text in ACCOUNTS.items():
        write(image / name, text)
    (image / "tmp").mkdir()
    (image / "tmp").chmod(0o1777)
    state = within(image, STATE)
    state.mkdir(parents=True)
    # A new volume gets this folder's owner.
    os.chown(state, USER, USER)


def within(image: Path, path: Path) -> Path:
    """Return where a file of this system is in the image."""
    return image / path.relative_to("/")


def write(path: Path, text: str) -> None:
    """Write a text file that everybody can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def copy(path: Path, image: Path) -> Path:
    """Copy one file. A link above it becomes a link in the image, a link at its end a file."""
    for folder in reversed(path.parents):
        if folder.is_symlink() and not within(image, folder).is_symlink():
            within(image, folder).parent.mkdir(parents=True, exist_ok=True)
            within(image, folder).symlink_to(folder.readlink())
    target = within(image, path.parent.resolve()) / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(path, target)
    return path


def copy_tree(folder: Path, image: Path, leave_out: frozenset[str]) -> Iterator[Path]:
    """Copy a folder without what is only needed to build; yield the files as they are here."""

    def unwanted(_: str, names: list[str]) -> list[str]:
        return [it for it in names if it in leave_out or Path(it).suffix in ONLY_TO_BUILD]

    shutil.copytree(
        folder, within(image, folder), symlinks=True, ignore=unwanted, dirs_exist_ok=True
    )
    for parent, _, names in os.walk(within(image, folder)):
        yield from ("/" / Path(parent).relative_to(image) / name for name in names)


def copy_python(image: Path) -> Iterator[Path]:
    """Copy the interpreter that made ``/opt/relay``, and its library."""
    program = (RELAY / "bin" / "python3").resolve()
    yield copy(program, image)
    for link in (RELAY / "bin" / "python3", *program.parent.glob("python3*")):
        if link.is_symlink() and link.resolve() == program and link.parent == program.parent:
            within(image, link).symlink_to(link.readlink())
    library = Path(sysconfig.get_path("stdlib"))
    unused = {it.name for it in library.glob("config-*")}
    extensions = library / "lib-dynload"
    for pattern in UNUSED_EXTENSIONS:
        unused |= {it.name for it in extensions.glob(pattern)}
    yield from copy_tree(library, image, NEVER_IMPORTED | unused)


def install_programs(image: Path) -> None:
    """Install the image's command and its health check; leave out what activates environments."""
    programs = within(image, RELAY / "bin")
    for path in programs.iterdir():
        if path.name != "relay" and not path.is_symlink():
            path.unlink()
    for name, target, mode in (
        ("entry.py", image / "usr" / "bin" / "relay", 0o755),
        ("alive.py", within(image, RELAY / "alive.py"), 0o644),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, target)
        target.chmod(mode)


def strip(folder: Path) -> None:
    """Take the debug symbols out of extension modules, and check that these can still be loaded.

    Raises `subprocess.CalledProcessError` otherwise.
    """
    modules = [str(it) for it in folder.rglob("*.so*") if not it.is_symlink()]
    subprocess.run(["strip", "--strip-unneeded", *modules], check=True)
    load = "import ctypes, sys; [ctypes.CDLL(path) for path in sys.argv[1:]]"
    subprocess.run([RELAY / "bin" / "python3", "-c", load, *modules], check=True)


def read_loader(program: Path) -> str:
    """Return the loader that a program names in its PT_INTERP header; elf(5) has the offsets."""
    elf = program.read_bytes()
    (headers,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for start in range(headers, headers + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", elf, start)
        if kind == 3:  # PT_INTERP
            return elf[offset : offset + length].rstrip(b"\0").decode()
    raise SystemExit(f"{program} is not dynamically linked")


def copy_libraries(image: Path, files: Iterable[Path]) -> Iterator[Path]:
    """Copy the shared libraries that these programs and extension modules load."""
    loader = read_loader((RELAY / "bin" / "python3").resolve())
    needed = {"libgcc_s.so.1"}  # glibc loads it itself, when a thread ends
    wanted = [it for it in files if re.search(r"\.so(\.\d+)*$", it.name) or it.parent.name == "bin"]
    found: set[str] = set()
    for path in wanted:
        listed = subprocess.run(
            [loader, "--list", path], capture_output=True, text=True, check=False
        ).stdout
        if missing := re.findall(r"(\S+) => not found", listed):
            raise SystemExit(f"{path} needs {', '.join(missing)}, which the base image lacks")
        found |= set(re.findall(r"(?:^\s+|=> )(/\S+)", listed, re.MULTILINE))
    folders = {str(Path(it).parent) for it in found}
    found |= {f"{folder}/{name}" for folder in folders for name in needed}
    for name in sorted(found):
        if Path(name).is_file() and not name.startswith(f"{RELAY}/"):
            yield copy(Path(name), image)


def copy_data(image: Path) -> Iterator[Path]:
    """Copy certificates, the name of the system, and where its libraries are."""
    if not CERTIFICATES.exists():
        raise SystemExit(f"the base image lacks {CERTIFICATES}")
    yield copy(CERTIFICATES, image)
    for path in (Path("/etc/os-release"), Path("/etc/ld.so.cache"), Path("/etc/debian_version")):
        if path.exists():
            yield copy(path, image)
    # OpenSSL looks for certificates here.
    link = within(image, Path("/usr/lib/ssl/cert.pem"))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(CERTIFICATES)


def record_packages(image: Path, files: Iterable[Path]) -> None:
    """Record the Debian packages that files are from, as distroless images do; and licences."""
    owners = {
        line: listing.name.removesuffix(".list").partition(":")[0]
        for listing in (PACKAGES / "info").glob("*.list")
        for line in listing.read_text().splitlines()
    }
    names = {owners.get(form) for path in files for form in spellings(path)} - {None}
    if not names:
        return
    for stanza in (PACKAGES / "status").read_text().split("\n\n"):
        name = re.search(r"^Package: (\S+)$", stanza, re.MULTILINE)
        if name and name[1] in names:
            write(within(image, PACKAGES / "status.d" / name[1]), stanza + "\n")
            licence = Path("/usr/share/doc", name[1], "copyright")
            if licence.exists():
                copy(licence, image)


def spellings(path: Path) -> tuple[str, ...]:
    """Return the names that a package may have for a file: with /usr and without, behind links."""
    real = path.resolve()
    return (str(path), str(real), str(real).removeprefix("/usr"), str(path).removeprefix("/usr"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
