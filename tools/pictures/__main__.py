"""Makes the pictures in the documents anew: ``python -m tools.pictures [NAME…]``.

Each is what relay sends in the story of `relay demo`, as the service shows it. A headless Chromium
draws the pages, and pngquant makes the files small. On Debian: ``apt-get install chromium pngquant
fonts-inter fonts-dejavu-core fonts-noto-color-emoji``. ``--check`` needs neither and makes
nothing: it ends with 1 if relay sends something else today than a picture shows. ``--html FOLDER``
writes the pages for a browser instead.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from tools.pictures.markup import Markup
from tools.pictures.payloads import DESTINATIONS, MOMENTS, make_demo, make_payloads
from tools.pictures.services import SHOW
from tools.pictures.stamp import is_current, stamp
from tools.pictures.terminal import show_terminal

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
MAX_BYTES = 60_000
"""A page with a picture should load fast, and the repository stay small."""
SCALE = 2.0
"""Pixels of a picture for each of the page, so it is sharp on any screen."""
COLOURS = 64
_LONG = dict.fromkeys(
    ("terminal", "http-opened", "pagerduty-opened", "alertmanager-opened"), (1.5, 14)
)
"""The scale and the colours of a picture that would be too large."""
TIMEOUT_S = 60

_STYLE = Path(__file__).with_name("style.css")
_WIDTHS = {
    **dict.fromkeys(("terminal", "console"), 860),
    **dict.fromkeys(("ntfy", "gotify", "pushover", "apprise"), 480),
    "telegram": 560,
}
_DEFAULT_WIDTH = 680
_MEASURE = "<script>document.title = document.body.offsetHeight</script>"
_TITLE = re.compile(r"<title>(\d+)</title>")


def make_page(looks: str, content: Markup) -> str:
    """Return a page that looks like a service and needs nothing else."""
    head = f"<meta charset=utf-8><title></title><style>{_STYLE.read_text()}</style>"
    return (
        f'<!DOCTYPE html><html><head>{head}</head><body class="{looks}">{content}</body></html>\n'
    )


def make_message_page(service: str, moment: str) -> str:
    """Return the page of a message."""
    return make_page(service, SHOW[service](make_payloads(service)[moment]))


def make_terminal_page() -> str:
    """Return the page of a terminal that shows `relay demo`."""
    return make_page("terminal", show_terminal("relay demo", make_demo()))


_SHOWN = [("slack", moment) for moment in MOMENTS]
_SHOWN += [(service, "opened") for service in DESTINATIONS if service != "slack"]

PICTURES: Mapping[str, tuple[str, Callable[[], str]]] = {
    **{
        f"{service}-{moment}": (service, partial(make_message_page, service, moment))
        for service, moment in _SHOWN
    },
    "terminal": ("terminal", make_terminal_page),
}
"""What each picture looks like, and what makes its page."""


def draw(page: str, width: int, file: Path, scale: float, colours: int) -> None:
    """Draw a page into a PNG file."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        source = Path(folder) / "page.html"
        source.write_text(page.replace("</body>", f"{_MEASURE}</body>"))
        measured = _run_chromium(width, 100, scale, "--dump-dom", source.as_uri())
        found = _TITLE.search(measured)
        if found is None:
            raise SystemExit("chromium has not measured the page")
        source.write_text(page)
        drawn = Path(folder) / "page.png"
        _run_chromium(width, int(found[1]), scale, f"--screenshot={drawn}", source.as_uri())
        _run("pngquant", "--force", "--strip", "--output", str(file), str(colours), str(drawn))
    stamp(file, page)
    if (size := file.stat().st_size) > MAX_BYTES:
        raise SystemExit(f"{file}: {size} bytes, more than {MAX_BYTES}")


def _run_chromium(width: int, height: int, scale: float, *arguments: str) -> str:
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    options += [f"--force-device-scale-factor={scale}", f"--window-size={width},{height}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # its sandbox does not run as root; the pages are ours
    return _run("chromium", *options, *arguments)


def _run(*command: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed; {__doc__}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{command[0]} ended with {error.returncode}: {error.stderr}") from None
    return ran.stdout


def main() -> int:
    """Make the pictures, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}")
    parser.add_argument("--check", action="store_true", help="say which are no longer true")
    parser.add_argument("--html", type=Path, metavar="FOLDER", help="write the pages there instead")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PICTURES):
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    names = arguments.names or list(PICTURES)
    if arguments.check:
        return check(names)
    for name in names:
        looks, make = PICTURES[name]
        if arguments.html is not None:
            (arguments.html / f"{name}.html").write_text(make())
            continue
        file = find_file(name)
        width = _WIDTHS.get(looks, _DEFAULT_WIDTH)
        draw(make(), width, file, *_LONG.get(name, (SCALE, COLOURS)))
        print(f"{file.name}: {file.stat().st_size} bytes")
    return 0


def find_file(name: str) -> Path:
    """Return the file of a picture."""
    return FOLDER / f"{name}.png"


def check(names: Iterable[str]) -> int:
    """Print which pictures are no longer true; return the exit code."""
    stale = [name for name in names if not is_current(find_file(name), PICTURES[name][1]())]
    for name in stale:
        print(f"{name}: relay sends something else today; python -m tools.pictures {name}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
