"""Where a run keeps its data: keys below a prefix, as in an object store; on one machine the prefix is a folder.

run.json                what the run is
input/                  config.json, and below files/ the files that engines open
structures/NAME.npz     start structures
data/train/000, 001, …  training data, one data set a round; data/heldout/000, … the held-out data
data/index/000, …       content hashes and descriptors of those data
                        (in an object store each of these folders is one object, data/train/000.tar …)
queue/0, 1, …           frames from elsewhere that the next round may label
iterations/003/…        of a round: graph.json when it begins, models, explored, …, result.json when it has finished
report/                 the page for people
work/, lock, preparing, batch.json  what belongs to the machine and to no store

This module alone spells these names; every other puts keys together from them.
"""

from __future__ import annotations

import re

RUN, REMOTE, LOCK, PREPARING = "run.json", "remote.json", "lock", "preparing"
INPUT, STRUCTURES, DATA, ROUNDS, QUEUE, REPORT, WORK = (
    "input", "structures", "data", "iterations", "queue", "report", "work",
)  # fmt: skip
ROUND_DIGITS = 3
"""Of the number that the name of what belongs to a round begins with."""
STORED = (INPUT, STRUCTURES, DATA, ROUNDS)
"""Folders of the store, beside run.json."""

REPORT_PAGE = "index.html"
"""In `report`."""
FILES = "files"
"""Copies in `input`, beside the study, whose file `config.read` names; and what engines keep of simulations."""

TRAIN, HELDOUT, INDEX = f"{DATA}/train", f"{DATA}/heldout", f"{DATA}/index"
PACKED, PACK = (TRAIN, HELDOUT, INDEX), ".tar"
"""Folders whose own folders, one a round, are one object each in an object store, and how its key ends."""
MANIFEST, HELDOUT_MANIFEST, DESCRIPTORS, SYSTEMS = (
    "manifest.json", "heldout-manifest.json", "descriptors.npy", "systems",
)  # fmt: skip
"""In a data set and in its index; the name of a head stands before that of its descriptors."""

GRAPH, RECORD = "graph.json", "result.json"
"""In a round's folder: its graph, and its record when it has finished."""
MODELS, CHECKPOINTS, EXPLORED, SEARCHES, QUEUED, HISTORY, SELECTED, LABELED, MERGED, GIVEN, PREDICTIONS, EVALUATION = (
    "models", "checkpoints", "explored", "searches", "queued", "history", "selected", "labeled", "merged", "given",
    "predictions", "evaluation",
)  # fmt: skip
"""In a round's folder: what its steps write, and what they read beside the data."""

MODEL, MODEL_PREDICTIONS, CURVE, BOUNDS = "model.json", "heldout.npz", "curve.csv", "bounds.npz"
CHECKPOINTS = "checkpoints.csv"
"""In the folder of a model, beside the files of its engine."""
EXPLORED_RECORD, FRAMES, FOUND = "explored.json", "frames.npz", "found.npz"
"""What a job that explores leaves: its results, the candidates, and the structures that a search has found."""
PROPOSED, RELAXED, PROPOSED_FRAMES, RELAXED_FRAMES, EXCHANGE = (
    "proposed", "relaxed", "proposed.npz", "relaxed.npz", "exchange",
)  # fmt: skip
"""Of a search: the structures of a generation before and after relaxation, and the memory of its engine."""
HISTORY_RECORD, SELECTED_RECORD, LABELED_RECORD, MERGED_RECORD = (
    "history.json", "selected.json", "labeled.json", "merged.json",
)  # fmt: skip
BATCHES, BATCH, BATCH_FORCES, BATCH_PREDICTED, HULLS = (
    "batches", "batch.json", "forces.npy", "predicted.npz", "hulls",
)  # fmt: skip
"""In `selected`: frames to be labeled, a folder for each job, and the convex hulls of searches."""
LATE = "late"
"""In a round's folder: what labels added that were late in the round before; and how data sets of these end."""
GIVEN_SUMMARY = "summary.json"
PREDICTIONS_RECORD, PREDICTIONS_ARRAYS, JUDGEMENT, PARITY = (
    "predictions.json", "predictions.npz", "evaluation.json", "parity.npz",
)  # fmt: skip
EXPANDED, ANSWERS, PROPERTIES, SIMULATED = "expanded", "answers", "properties", "simulated"
SAMPLES_RECORD, ANSWERS_RECORD, LABELS, PROPERTIES_RECORD, SIMULATED_RECORD = (
    "samples.json", "answers.json", "labels.npz", "properties.json", "simulated.json",
)  # fmt: skip
"""Of a study of properties: frames that are asked for, what came of them with their labels, the values, and
simulations of a study of transport."""

SOURCES, SOURCE_LIST, SHARDS, SHARD, LABEL_ARRAYS, READ_RECORD, FEATURES = (
    "sources", "sources.json", "shards", "shard.json", "labels.npz", "read.json", "features.npz",
)  # fmt: skip
"""Of cleaning: the files that are read, and the labeled frames of each, in folders of a bounded size."""
CHECKED, CHECKED_RECORD, VERDICTS, CLEANED, CARD, CARD_ARRAYS, WRITTEN_RECORD, QUARANTINE = (
    "checked", "checked.json", "verdicts.npz", "cleaned", "card.json", "card.npz", "written.json", "quarantine.json",
)  # fmt: skip
"""What is said of every frame, and what comes of it."""
LEARNING_CURVE, LEARNING_CURVE_RECORD = "curves", "curve.json"
"""Of the learning curves of cleaned data: a folder a line, and its points."""
CARDS, QUARANTINED, TRAINING_STUDY, RELABEL_RECORD = "card", "quarantine", "training.yaml", "relabel.json"
"""Folder of the data card with a study on the cleaned data, that of frames in quarantine, and how many of them are
labeled again."""

SCRATCH, ERRORS, PROGRESS, STAGED, AT_SITES = "scratch", "errors", "progress", "staged", "sites"
"""In `work`."""
POD = "/tmp"  # noqa: S108  a volume of the pod's own
"""Folder of the job that a pod does."""
BATCH_STEPS, BATCH_RUN = "batch", "batch.json"
"""In `work`: what a batch system does, by round and step; and, in the run's folder, that the run is on one."""
JOB_INPUTS, JOB_OUTPUTS = "inputs", "outputs"
"""In the folder of a job, beside `work` and `scratch`."""


def round_name(number: int) -> str:
    """Name of a round's folder, and of the data sets that it adds."""
    return f"{number:0{ROUND_DIGITS}d}"


def late_name(number: int) -> str:
    """Name of the data sets of labels that were late in a round."""
    return f"{round_name(number)}.{LATE}"


def iteration_key(number: int) -> str:
    """Key of a round's folder."""
    return f"{ROUNDS}/{round_name(number)}"


DRIVER_RECORDS = re.compile(
    rf"{re.escape(RUN)}|{INPUT}/.*|{STRUCTURES}/[^/]+|"
    rf"{ROUNDS}/\d+/({re.escape(RECORD)}|{re.escape(GRAPH)}|({HISTORY}|{QUEUED}|{SELECTED})/.*"
    rf"|{GIVEN}/.*{re.escape(MANIFEST)}|{SOURCES}/\d+/{re.escape(SOURCE_LIST)})"
)
"""Keys of what drivers and reports read beside the index of the data and the records of steps, which graphs name."""


def is_packed(key: str) -> bool:
    """The key of a folder, or of a file in it, that an object store holds as one object."""
    return key.startswith(tuple(f"{folder}/" for folder in PACKED))


def object_key(key: str) -> str:
    """Key of the object that is a folder in an object store, or what the keys of all that lies in it begin with."""
    return f"{key}{PACK}" if is_packed(key) else f"{key}/"
