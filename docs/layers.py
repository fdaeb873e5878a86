"""The figure of the architecture page: the packages of lamflow, and who imports whom, as SVG.

The layers are those that pyproject.toml states for import-linter; the imports are read from the code.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
WIDTH, ROW, BOX, HEIGHT = 860, 74, 150, 34
"""Width of the figure, distance of layers, width and height of a package's box; pixels."""
COLORS = ("#3f51b5", "#00897b", "#c0392b", "#8e44ad", "#d35400", "#2c7fb8", "#7a6a00", "#455a64", "#ad1457", "#2e7d32")


def layers() -> list[list[str]]:
    """The packages by layer, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in row.split("|")] for row in rows]


def imports(packages: list[str]) -> list[tuple[str, str]]:
    """Pairs (importing, imported) of packages, imports inside of functions included, those for types alone not."""
    graph = grimp.build_graph("lamflow", exclude_type_checking_imports=True, cache_dir=None)
    names = {f"lamflow.{name}": name for name in packages}
    pairs = set()
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            pair = tuple(names.get(".".join(item.split(".")[:2]), "") for item in (module, target))
            if all(pair) and pair[0] != pair[1]:
                pairs.add((pair[0], pair[1]))
    return sorted(pairs)


def figure() -> str:
    """The SVG: a row for each layer, a line from each package to each that it imports."""
    rows = layers()
    middles = {
        name: (_x(index, column, len(row)), ROW * index + HEIGHT / 2 + 10)
        for index, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    importing = list(middles)
    lines = [
        _line(middles[source], middles[target], COLORS[importing.index(source) % len(COLORS)], f"{source} → {target}")
        for source, target in imports(importing)
    ]
    boxes = [_box(name, *middles[name], COLORS[importing.index(name) % len(COLORS)]) for name in middles]
    height = ROW * (len(rows) - 1) + HEIGHT + 20
    size = f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="15"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    title = "<title>Packages of lamflow by layer; a line goes from a package to one that it imports</title>"
    back = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, title, back, *lines, *boxes, "</svg>", ""])


def _x(index: int, column: int, size: int) -> float:
    """Middle of a package; those that are alone in their layer stand at different places, so that no line is hidden."""
    alone = BOX / 2 + 10 + (WIDTH - BOX - 20) * (index * 0.382 % 1)
    return alone if size == 1 else WIDTH * (column + 1) / (size + 1)


def _box(name: str, x: float, y: float, color: str) -> str:
    corner = f'x="{x - BOX / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{BOX}" height="{HEIGHT}" rx="6"'
    middle = f'x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="#1a1a1a"'
    return f'<rect {corner} fill="#f7f8fc" stroke="{color}" stroke-width="2"/><text {middle}>{name}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], color: str, title: str) -> str:
    (x, y), (u, v) = (start[0], start[1] + HEIGHT / 2), (end[0], end[1] - HEIGHT / 2)
    bend = (v - y) / 2
    curve = f"M{x:.0f} {y:.0f} C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v:.0f}"
    stroke = f'fill="none" stroke="{color}" stroke-opacity="0.55" stroke-width="1.4"'
    return f'<path d="{curve}" {stroke}><title>{title}</title></path>'
