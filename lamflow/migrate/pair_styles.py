"""Pair styles of LAMMPS templates that lie over the model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lamflow.errors import InputError
from lamflow.migrate.paths import Paths


@dataclass
class Layer:
    """A pair style with its arguments, its coefficients in lamflow's words, and the files that they name."""

    style: str
    coefficients: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def layers_of(text: str, source: str, paths: Paths) -> list[Layer]:
    """What lies over the model in a template: nothing with `pair_style deepmd`, the rest of a `hybrid/overlay`.

    source  name of the template, for messages
    Raises InputError, with the line, for a template whose model is not the whole of the potential or its base.
    """
    lines = re.sub(r"&\s*\n", " \n", text).splitlines()  # continued lines stay apart, for their numbers
    styles = [(index, line.split("#")[0].split()) for index, line in enumerate(lines, start=1)]
    pairs = [(index, words) for index, words in styles if words[:1] == ["pair_style"]]
    if not pairs:
        raise InputError(f"{source}: this LAMMPS template has no `pair_style deepmd`, whose place the models take")
    index, words = pairs[-1]
    if words[1:2] == ["deepmd"]:
        return []
    shown = f"{source}, line {index}: {' '.join(words)}"
    if words[1:2] != ["hybrid/overlay"] or "deepmd" not in words:
        raise InputError(
            f"{shown}: lamflow's models are all of the potential, or other styles lie over them; write `pair_style "
            "deepmd`, or `hybrid/overlay` with deepmd in it, and give other styles under zbl, d3 or overlays in stages"
        )
    coefficients = [(number, line[1:]) for number, line in styles if line[:1] == ["pair_coeff"] and len(line) > 3]
    return _overlaid(words[2:], coefficients, shown, paths)


def _overlaid(words: list[str], coefficients: list[tuple[int, list[str]]], shown: str, paths: Paths) -> list[Layer]:
    """Layers of the words of a hybrid/overlay; its styles are those that the coefficients name."""
    names = {line[2] for _, line in coefficients} | {"deepmd"}
    layers: list[Layer] = []
    model = False
    for word in words:
        if word in names:
            model = word == "deepmd"
            if not model:
                if any(layer.style.split()[0] == word for layer in layers):
                    raise InputError(f"{shown}: {word} stands in it twice; give both under overlays in stages")
                layers.append(Layer(word))
        elif layers and not model:
            layers[-1].style += f" {word}"
    for _, line in coefficients:
        layer = next((item for item in layers if item.style.split()[0] == line[2]), None)
        if layer is not None:
            layer.coefficients.append(
                " ".join([*(_element(word, paths) for word in line[:2]), *_rest(line[3:], paths)])
            )
            layer.files += [word for word in line[3:] if (paths.source / word).is_file()]
    lacking = [layer.style for layer in layers if not layer.coefficients]
    if lacking:
        raise InputError(f"{shown}: there is no pair_coeff for {lacking[0]}")
    return layers


def _element(word: str, paths: Paths) -> str:
    """An atom type as lamflow's overlays name it: `{Cu}`, or what stands for several types."""
    if word.isdigit() and 0 < int(word) <= len(paths.type_map):
        return f"{{{paths.type_map[int(word) - 1]}}}"
    return word


def _rest(words: list[str], paths: Paths) -> list[str]:
    """Arguments of a pair_coeff; the type map in them becomes `{elements}`."""
    count = len(paths.type_map)
    for start in range(len(words) - count + 1):
        if count and words[start : start + count] == paths.type_map:
            return [*words[:start], "{elements}", *words[start + count :]]
    return words
