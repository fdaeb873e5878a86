"""One Markdown table of all results: _table.py FOLDER. Each figure with its command, its machine and its date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def table(folder: Path) -> str:
    """The results below `folder`, a row for each row of each benchmark."""
    lines = ["| figure | measured | command | machine, date |", "| --- | --- | --- | --- |"]
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        machine = found.get("machine", {})
        where = f"{machine.get('cpu')}, {machine.get('cores')} cores, {str(found.get('date', ''))[:10]}"
        settings = found.get("settings", {})
        options = f" --part {settings['part']}" if settings.get("part", "all") != "all" else ""
        command = f"{file.stem.partition('-')[0]}.py{options}{' --small' if settings.get('small') else ''}"
        for row in found["rows"]:
            (_, what), *values = row.items()
            said = "; ".join(f"{name} {_text(value)}" for name, value in values if value is not None)
            lines.append(f"| {found['title']}: {what} | {said} | `benchmarks/{command}` | {where} |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
