"""The shape of lamflow's own source: lengths of functions and modules, import cycles, lines of each layer.

    python benchmarks/house.py [--tree FOLDER] [--name house-before] [--output benchmarks/results]

Lines are physical lines, docstrings and blank lines included; a function counts from its `def` to its last line.
A layer is a folder of lamflow, or a module beside them. Imports are those that are written anywhere in a module: at its
top, in functions and under `TYPE_CHECKING`. A cycle is a strongly connected component of more than one module.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

PACKAGE = "lamflow"
LONG_FUNCTION, LONG_MODULE = 40, 300
"""Lines that a function and a module should not pass."""
LONGEST = 10
"""Functions and modules that are named."""


def module_files(tree: Path) -> dict[str, Path]:
    """File of each module below `tree`, by the module's dotted name."""
    files: dict[str, Path] = {}
    for file in sorted((tree / PACKAGE).rglob("*.py")):
        parts = file.relative_to(tree).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def function_lines(source: ast.Module, module: str) -> Iterator[tuple[str, int]]:
    """Where each function is and its number of lines, methods and nested functions included."""
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{module}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def imported(source: ast.Module, module: str, files: Mapping[str, Path]) -> set[str]:
    """Modules of `files` that a module imports; `from a import b` is the module `a.b` where there is one, else `a`."""
    package = module.split(".") if files[module].name == "__init__.py" else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            members = [f"{base}.{alias.name}" for alias in node.names]
            names |= {member if member in files else base for member in members}
    return names & set(files) - {module}


def cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other in a circle, the largest first."""
    names = sorted(edges)
    index = {name: number for number, name in enumerate(names)}
    pairs = np.array([(index[a], index[b]) for a in names for b in sorted(edges[a])], dtype=int).reshape(-1, 2)
    matrix = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(matrix, directed=True, connection="strong")
    groups = [[names[i] for i in np.flatnonzero(component == label)] for label in np.unique(component)]
    return sorted((group for group in groups if len(group) > 1), key=len, reverse=True)


def layer_rows(lengths: Mapping[str, int]) -> list[dict[str, Cell]]:
    """Modules and lines of each layer, the largest first."""
    modules, lines = Counter[str](), Counter[str]()
    for module, length in lengths.items():
        layer = module.split(".")[1] if "." in module else module
        modules[layer] += 1
        lines[layer] += length
    return [{"layer": layer, "modules": modules[layer], "lines": count} for layer, count in lines.most_common()]


def longest(lengths: Mapping[str, int], limit: int) -> list[dict[str, Cell]]:
    """Those that are longer than `limit`, at most LONGEST of them."""
    order = sorted(lengths, key=lambda name: (-lengths[name], name))[:LONGEST]
    return [{"name": name, "lines": lengths[name]} for name in order if lengths[name] > limit]


def main() -> None:
    """Measure and publish."""
    options = parser(__doc__)
    options.add_argument("--tree", type=Path, default=Path(__file__).parent.parent, help="holds the folder lamflow")
    options.add_argument("--name", default="house", help="of the JSON file")
    settings = parse_arguments(options)
    files = module_files(settings.tree.absolute())
    if not files:
        options.error(
            f"{settings.tree / PACKAGE}: no Python module is there; --tree names the folder that holds {PACKAGE}"
        )
    texts = {module: file.read_text(encoding="utf-8") for module, file in files.items()}
    sources = {module: ast.parse(text, str(files[module])) for module, text in texts.items()}
    lengths = {module: len(text.splitlines()) for module, text in texts.items()}
    functions = [pair for module, source in sources.items() for pair in function_lines(source, module)]
    bodies, sizes = np.array([lines for _, lines in functions]), np.array(list(lengths.values()))
    circles = cycles({module: imported(source, module, files) for module, source in sources.items()})
    rows: list[dict[str, Cell]] = [
        {"measure": "functions", "value": len(functions)},
        {"measure": "function, median lines", "value": float(np.median(bodies))},
        {"measure": "function, 99th percentile of lines", "value": float(np.percentile(bodies, 99))},
        {"measure": f"functions of more than {LONG_FUNCTION} lines", "value": int((bodies > LONG_FUNCTION).sum())},
        {"measure": "modules", "value": len(files)},
        {"measure": "module, 90th percentile of lines", "value": float(np.percentile(sizes, 90))},
        {"measure": "module, most lines", "value": int(sizes.max())},
        {"measure": f"modules of more than {LONG_MODULE} lines", "value": int((sizes > LONG_MODULE).sum())},
        {"measure": "import cycles", "value": len(circles)},
        {"measure": "modules in import cycles", "value": sum(map(len, circles))},
        {"measure": "lines", "value": int(sizes.sum())},
    ]
    publish(
        settings, settings.name, f"The source of {PACKAGE}", rows, layers=layer_rows(lengths),
        cycles=[{"modules": len(circle), "names": ", ".join(circle)} for circle in circles],
        long_functions=longest(dict(functions), LONG_FUNCTION), long_modules=longest(lengths, LONG_MODULE),
    )  # fmt: skip


if __name__ == "__main__":
    main()
