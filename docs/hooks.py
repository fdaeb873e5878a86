"""Pages of the site that lie outside of docs/: they are shown from where they are, and their links are turned.

In the site a file of docs/ has its path below docs/, any other file its path below the root of the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = ("CONTRIBUTING.md", "images/README.md", "workflows/*/README.md", "workflows/*/*.yaml")
"""Files outside of docs/ that belong to the site: pages, and studies that can be downloaded."""
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of docs/."""
    from mkdocs.structure.files import File

    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between files of the site."""
    del config
    path = Path(page.file.abs_src_path or "").resolve().relative_to(ROOT)
    return LINK.sub(lambda link: site_link(link[1], path.as_posix(), set(files.src_uris)), markdown)


def site_link(link: str, source: str, names: set[str]) -> str:
    """A relative link of the file `source` of the repository as a link from its page.

    names  files of the site. A link to a file of the repository that is not among them becomes one to the page
    "Contributing", where the repository is described; a link to nothing stays, and the strict build refuses it.
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if not (ROOT / target).exists():
        return link
    name = target.removeprefix("docs/")
    start = posixpath.dirname(source.removeprefix("docs/")) or "."
    return posixpath.relpath(name if name in names else "CONTRIBUTING.md", start)
