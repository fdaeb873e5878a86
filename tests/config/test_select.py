"""Levels of explore groups: what they may say, and what is refused."""

from __future__ import annotations

import pytest

from lamflow.config import parse
from lamflow.errors import InputError
from tests.conftest import STUDY

GROUP = "timestep: 0.002, every: 4"
OWN = "window: {low: 0.01, high: 1.0}, channels: [{metric: virial_max, low: 0.1, high: 1}]"


def with_group(text: str) -> str:
    assert GROUP in STUDY
    return STUDY.replace(GROUP, f"{GROUP}, {text}")


def test_a_group_overrides_the_levels_of_the_selection() -> None:
    study = parse(with_group(OWN))
    group = study.stages[0].explore[0]
    assert study.select.levels == {"force_max": (0.001, 2.0)}
    assert study.select_of(group).levels == {"force_max": (0.01, 1.0), "virial_max": (0.1, 1.0)}
    assert study.select_of(parse(STUDY).stages[0].explore[0]) == study.select


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            with_group("window: {low: 1.0, high: 0.01}"),
            r"line 14 .*window: low \(1 eV/Å\) must be below high \(0.01 eV/Å\); as written no frame",
        ),
        (
            with_group("channels: [{metric: virial_max, low: 1, high: 0.1}]"),
            r"virial_max: low \(1\) must be below high \(0.1 eV/atom\)",
        ),
        (
            with_group("channels: [{metric: force_max, low: 0.1, high: 1}]"),
            r"stages.warm.explore\[0\].channels: every metric once; given are force_max, force_max",
        ),
        (
            with_group("channels: [{metric: magnetic_force_max, low: 0.1, high: 1}]"),
            r"stages.warm.explore\[0\]: magnetic_force_max: the models have no magnetic forces",
        ),
        (
            with_group(OWN).replace("rule: fixed, low: 0.001, high: 2.0", "rule: calibrated, error: 0.2"),
            r"stages.warm.explore\[0\].window: its levels are put on the scale of a fixed window; .* is calibrated",
        ),
        (with_group(OWN).replace("low: 0.001", "low: 0"), r"explore\[0\].window: select.window.low must be above 0"),
        (with_group("window: {rule: adaptive}"), "window.rule"),
        (
            STUDY.replace("low: 0.001, high: 2.0}", "low: 0.1, high: 2.0}\n  channels: [{metric: virial_max, low: 1, high: 2}]")
            .replace(
                "label: {engine: emt}",
                "label: {engine: abacus, deltaspin: {elements: [Cu]}, pseudopotentials: {Cu: Cu.upf}, ecutwfc: 60}",
            ),
            "virial_max: labels of abacus have no virial as it is set up here, so no model learns one",
        ),
    ],
)  # fmt: skip
def test_levels_that_mean_nothing_are_refused_in_one_message(text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse(text, files=False)


CALIBRATED = "rule: calibrated, error: 0.2, risk: 0.1"


def calibrated_with(channel: str, more: str = "") -> str:
    text = STUDY.replace("rule: fixed, low: 0.001, high: 2.0", CALIBRATED)
    return text.replace("  limit: 6", f"  limit: 6\n  channels: [{{{channel}}}]{more}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (calibrated_with("metric: virial, error: 0.02"), "select.channels"),
        (calibrated_with("metric: virial_max, low: 0.1, high: 1"), "a calibrated window needs error of it"),
        (calibrated_with("metric: virial_max"), "virial_max: give low and high, or error with a calibrated window"),
        (calibrated_with("metric: virial_max, error: 0"), r"error \(0 eV/atom\) must be above 0"),
        (calibrated_with("metric: virial_max, error: 1, low: 0.1"), "error is for a calibrated window"),
        (calibrated_with("metric: force_max, error: 0.1"), "every metric once"),
        (calibrated_with("metric: magnetic_force_max, error: 0.1"), "the models have no magnetic forces"),
        (calibrated_with("metric: energy, error: 0.1", "\n  score: teacher"), "by a committee, and score is teacher"),
        (calibrated_with("metric: energy, error: 0.1", "\n  cut_out: {}"), "do not tell the errors of whole frames"),
        (with_group("channels: []").replace("rule: fixed, low: 0.001, high: 2.0", CALIBRATED), "hold for all groups"),
        (
            STUDY.replace("  limit: 6", "  limit: 6\n  channels: [{metric: energy, error: 0.1}]"),
            "energy: a fixed window needs low and high of it",
        ),
    ],
)
def test_errors_of_channels_that_mean_nothing_are_refused_in_one_message(text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse(text, files=False)
