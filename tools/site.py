"""The documents as a site: ``.venv/bin/mkdocs build --strict``.

The pages are written for a reader of the repository. MkDocs only knows those in ``docs/``; this
hook adds those of the top folder and the files that pages link to, and lets every link lead there.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs"
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages of the top folder, and their names in the site."""

FILES = "files"
"""The site's folder for files of the repository that are no pages."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top folder, and every file that a page links to."""
    for name, page in TOP.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    sources = {name: ROOT / name for name in TOP}
    sources |= {str(path.relative_to(ROOT)): path for path in (ROOT / DOCS).rglob("*.md")}
    linked = {
        target
        for source, path in sources.items()
        for _, _, link, _ in _LINK.findall(path.read_text(encoding="utf-8"))
        if "://" not in link
        for target in [normpath(join(dirname(source), link))]
        if not is_page(target) and (ROOT / target).is_file()
    }
    for target in sorted(linked):
        if not target.startswith(f"{DOCS}/"):
            files.append(File.generated(config, site_uri(target), abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to the same thing in the site; one to a folder becomes its text."""
    names = {uri: name for name, uri in TOP.items()}
    source = names.get(page.file.src_uri, f"{DOCS}/{page.file.src_uri}")

    def replace(link: re.Match[str]) -> str:
        image, text, path, anchor = link[1], link[2], link[3], link[4] or ""
        if "://" in path or path.startswith("mailto:"):
            return link[0]
        target = normpath(join(dirname(source), path))
        if (ROOT / target).is_dir():
            return text
        uri = relpath(site_uri(target), dirname(page.file.src_uri) or ".")
        return f"{image}[{text}]({uri}{anchor})"

    return _LINK.sub(replace, markdown)


def is_page(path: str) -> bool:
    """Return whether a file of the repository is a page of the site."""
    return path in TOP or (path.startswith(f"{DOCS}/") and path.endswith(".md"))


def site_uri(path: str) -> str:
    """Return where a file of the repository is in the site."""
    if path in TOP:
        return TOP[path]
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{FILES}/{path.lstrip('.')}"  # MkDocs leaves out what begins with a dot
