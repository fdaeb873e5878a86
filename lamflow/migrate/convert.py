"""From a foreign file to text that `lamflow check` accepts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from lamflow.config import parse
from lamflow.config.schema import Study
from lamflow.config.section import json_of
from lamflow.errors import InputError
from lamflow.migrate import autotest, dpclean, dpgen, dpgen2, dpgen_init, former, pfd
from lamflow.migrate.keys import Keys, Kind, Notes, is_comment
from lamflow.migrate.paths import Paths, Spec

Source = Literal["dpgen", "dpgen2", "pfd", "dpclean", "lamflow"]
TITLES = {"dpgen": "DP-GEN", "dpgen2": "dpgen2", "pfd": "PFD-kit", "dpclean": "dpclean", "lamflow": "lamflow"}
HEADS: tuple[tuple[Kind, str], ...] = (
    ("translated", "Means the same:"),
    ("changed", "Look at these, they mean something else here:"),
    ("lost", "Has no counterpart in lamflow and was left out:"),
)


IS_JSON = re.compile(r"(\s|//[^\n]*\n|#[^\n]*\n|/\*.*?\*/)*\{", re.S)
STRING_OR_COMMENT = re.compile(
    r""""(?:\\.|[^"\\])*"|'[^'\n]*'|(?<![^\s,])//[^\n]*|(?<![^\s,])/\*.*?\*/|^\s*#[^\n]*""", re.S | re.M
)


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice, for people to read."""

    def ignore_aliases(self, data: Any) -> bool:
        """See PyYAML."""
        del data
        return True


@dataclass(frozen=True)
class Migration:
    """What became of a file.

    text     the YAML, with the notes at its head
    source   the program that the file was for
    notes    what became of every key
    missing  files that it names and that are not there
    files    further files that belong to it, by name: templates with lamflow's placeholders
    """

    text: str
    source: Source
    notes: Notes
    missing: list[str]
    files: dict[str, str]


def migrate(file: Path, target: Path, machine: Path | None = None, source: Source | None = None) -> Migration:
    """The file as lamflow's YAML that will lie in folder `target`. Raises InputError for what is no such file.

    A study in lamflow's own grammar of before gets the names that keys have now.

    machine  DP-GEN's machine.json
    """
    raw = _read(file)
    kind = source or recognised(raw, file)
    notes, paths = Notes(), Paths(file.parent.absolute(), target.absolute())
    if kind == "lamflow":
        return Migration(former.renewed(file, target, raw, notes), kind, notes, [], {})
    keys = Keys(raw, "", notes)
    machines = Keys(_read(machine) if machine is not None else {}, "machine", notes)
    convert: dict[str, Callable[[Keys, Keys, Paths], Spec]] = {
        "dpgen": dpgen.convert,
        "dpgen2": dpgen2.convert,
        "pfd": pfd.convert,
        "dpclean": dpclean.convert,
    }
    try:
        made = convert[kind](keys, machines, paths)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        why = f"{notes.at}: not what {TITLES[kind]} takes there, or near it ({error})"
        raise InputError(f"{file}: {why}; mend the file and migrate again") from error
    keys.finish()
    machines.finish()
    comments = sum(key.startswith("_") for key in _all_keys(raw))
    if comments:
        notes.add("lost", f"{comments} comments (keys that begin with _)")
    stem = file.absolute().parent.name if file.stem.lower() in ("param", "input", "config") else file.stem
    spec = _of_kind({"name": _name(made.pop("name", None) or stem), **_without_repeats(made, notes)})
    body = yaml.dump(spec, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    text = f"{_head(file, kind, notes, paths.missing)}\n{body}"
    for name, content in paths.written.items():
        if (target / name).exists() and (target / name).read_text(encoding="utf-8", errors="replace") != content:
            raise InputError(f"{target / name}: exists already, and a template of {file} becomes it; move it away")
    before = {name for name in paths.written if (target / name).exists()}
    try:
        for name, content in paths.written.items():  # the grammar looks into templates
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(content, encoding="utf-8")
        parse(text, f"what was made of {file}", target.absolute(), kind=Study, files=False)
    except InputError as error:
        for name in set(paths.written) - before:
            (target / name).unlink(missing_ok=True)
        raise InputError(f"{error}\n{_lines_of(str(error), text)}") from error
    return Migration(text, kind, notes, paths.missing, paths.written)


def _of_kind(spec: Spec) -> Spec:
    """The study as its kind of workflow has it: without stages models are trained once, and nothing is selected."""
    if spec.get("stages") or "workflow" in spec:
        return spec
    kept = {key: value for key, value in spec.items() if key not in ("name", "stages", "select", "converge")}
    budget = {key: value for key, value in kept.pop("budget", {}).items() if key != "iterations"}
    return {"name": spec["name"], "workflow": "training", **kept, **({"budget": budget} if budget else {})}


def _without_repeats(spec: Spec, notes: Notes) -> Spec:
    """Lists of structures, data and conditions with each item once: what is listed twice there is explored twice."""
    sections = [spec.get("start"), spec.get("heldout")]
    sections += [group for stage in spec.get("stages", []) for group in stage["explore"]]
    for section in filter(None, sections):
        for key in ("structures", "temperatures", "pressures", "electronic_temperatures", "data", "label"):
            items = section.get(key)
            if isinstance(items, list):
                section[key] = [item for index, item in enumerate(items) if item not in items[:index]]
                if len(section[key]) < len(items):
                    repeated = ", ".join(dict.fromkeys(str(item) for item in items if items.count(item) > 1))
                    notes.add("changed", f"({key})", key, f"{repeated} is listed more than once; here it is once")
    return spec


def _lines_of(message: str, text: str) -> str:
    """The lines of the YAML that a message points to, which nobody has seen."""
    lines = text.splitlines()
    numbers = [int(number) for number in re.findall(r"line (\d+)", message)]
    return "\n".join(f"  {number}: {lines[number - 1].strip()}" for number in numbers if 0 < number <= len(lines))


MACHINES = ({"train", "model_devi", "fp"}, {"deepmd_path"}, {"fp_command"}, {"train_machine"}, {"fp_machine"})
"""Keys of which every machine.json has some."""


def recognised(raw: Spec, file: Path) -> Source:
    """The program that a file was written for. Raises InputError for none of them."""
    keys = set(raw)
    if "explore_style" in raw or "train_style" in raw:
        raise InputError(
            f"{file}: an input of dpgen2 0.0.5 or before, which was flat; bring it into the sections inputs, train, "
            "explore and fp of later versions first"
        )
    if (
        keys & {"model_devi_jobs", "fp_style", "default_training_param"}
        or dpgen_init.is_init(raw)
        or autotest.is_autotest(raw)
    ):
        return "dpgen"
    if former.is_study(raw):
        return "lamflow"
    if "dataset" in raw or ("ratio_init" in raw and "select" in raw):
        return "dpclean"
    inputs = raw.get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    models = ("base_model_path", "teacher_model", "teacher_model_path", "pretrain_model_path", "base_model_uri")
    if keys & {"task", "conf_generation", "exploration"} or any(key in inputs for key in models):
        return "pfd"
    if "inputs" in raw and "explore" in raw:
        return "dpgen2"
    if any(names <= keys for names in MACHINES) and "inputs" not in raw:
        raise InputError(f"{file}: this is a machine.json; give param.json, and this file with --machine")
    if {"model", "training"} <= keys:
        raise InputError(f"{file}: an input of DeePMD-kit alone; name it as train.input_file of a study")
    raise InputError(
        f"{file}: not recognised as a file of DP-GEN, dpgen2, PFD-kit or dpclean, nor a study of lamflow; its keys are "
        f"{', '.join(sorted(raw)[:12])}; say which it is with --from"
    )


def _read(file: Path) -> Spec:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    try:
        raw = json_of(text, object_pairs_hook=_once)
    except _TwiceError as error:
        raise InputError(f"{file}: the key {error} is given twice; say which one holds") from error
    except ValueError:
        plain = text
        if IS_JSON.match(text):  # paths of YAML may have // and /* in them
            plain = STRING_OR_COMMENT.sub(lambda found: found[0] if found[0][0] in "\"'" else "", text)
        try:  # comments and trailing commas, or YAML, which DP-GEN reads too
            raw = yaml.safe_load(re.sub(r",(\s*[}\]])", r"\1", plain))
        except (yaml.YAMLError, RecursionError) as error:
            raise InputError(f"{file}: neither JSON nor YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict) or not raw:
        raise InputError(f"{file}: must be a mapping of keys to values")
    return raw


class _TwiceError(Exception):
    """A key that stands twice in a section."""


def _once(pairs: list[tuple[str, Any]]) -> Spec:
    for key, _ in pairs:
        if sum(other == key for other, _ in pairs) > 1 and not is_comment(key):
            raise _TwiceError(repr(key))
    return dict(pairs)


def _all_keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*map(str, value), *(key for item in value.values() for key in _all_keys(item))]
    return [key for item in value for key in _all_keys(item)] if isinstance(value, list) else []


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    return name or "migrated"


def _head(file: Path, kind: str, notes: Notes, missing: list[str]) -> str:
    """The notes as comments."""
    lines = [f"Made from {TITLES[kind]}'s {file.name}. `lamflow check` says whether everything is there."]
    for which, title in HEADS:
        found = notes.of(which)
        if found:
            lines += ["", title, *(f"  {note}" for note in found)]
    if missing:
        lines += ["", "Not here, or not where the file says:", *(f"  {name}" for name in missing)]
    return "\n".join(f"# {line}".rstrip() for text in lines for line in text.splitlines() or [""])
