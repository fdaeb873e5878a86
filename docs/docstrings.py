"""Docstrings as Markdown: lamflow's lists of attributes (name, two spaces, meaning) become lists."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROW = re.compile(r"([\w*]+(?:, [\w*]+)*|\([^)]*\) -> [^ ]+(?: [^ ]+)*?) {2,}(\S.*)")


class AttributeLists(griffe.Extension):  # type: ignore[misc]  # it may not be installed
    """Write the docstring of every object anew when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """A docstring with its lists of attributes as Markdown."""
    lines: list[str] = []
    in_list = False
    for line in docstring.splitlines():
        row = ROW.fullmatch(line)
        continues = in_list and line.startswith("  ")
        if row:
            lines += ([] if in_list else [""]) + [f"* `{row[1]}`: {row[2]}"]
        else:
            lines.append(f"    {line.strip()}" if continues else line)
        in_list = bool(row) or continues
    return "\n".join(lines)
