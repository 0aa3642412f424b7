"""HTML from texts that may be hostile."""

from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, kind: str, *children: str, style: str = "") -> Markup:
    """Return an element of a class; what is not `Markup` is escaped."""
    attributes = f' class="{escape(kind)}"' if kind else ""
    attributes += f' style="{escape(style)}"' if style else ""
    return Markup(f"<{name}{attributes}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Return the children one after the other; what is not `Markup` is escaped."""
    return Markup("".join(it if isinstance(it, Markup) else escape(it) for it in children))


def div(kind: str, *children: str, style: str = "") -> Markup:
    """Return a ``div`` of a class."""
    return element("div", kind, *children, style=style)


def span(kind: str, *children: str, style: str = "") -> Markup:
    """Return a ``span`` of a class."""
    return element("span", kind, *children, style=style)
