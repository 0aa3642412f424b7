"""How a terminal shows what relay prints."""

import re

from tools.pictures.markup import Markup, div, join, span

_SEQUENCE = re.compile(r"\x1b\[([\d;]*)m")
_KINDS = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}


def show_terminal(command: str, output: str) -> Markup:
    """Return a terminal in which a command printed something in colours."""
    prompt = join(span("dim", "$ "), span("bold", command), "\n")
    return div("window", div("screen", prompt, colour(output)))


def colour(output: str) -> Markup:
    """Return a text with the colours of its escape sequences."""
    shown, kinds = list[str](), list[str]()
    for number, part in enumerate(_SEQUENCE.split(output)):
        if number % 2 == 0:
            shown.append(span(" ".join(kinds), part) if kinds else part)
            continue
        for code in part.split(";"):
            kinds = [] if code in ("", "0") else [*kinds, _KINDS[code]]
    return join(*shown)
