"""A round on this machine that cannot be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.driver.listener import Listener
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.loop import _next_graph, begin
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError
from lamflow.flow.kinds import kind_of


def test_a_round_that_cannot_be_built_says_why_and_is_not_tried_again(study: Path, tmp_path: Path) -> None:
    directory, config = RunDirectory(tmp_path), load(study)
    executor = LocalExecutor(directory)
    begin(config, directory, executor)
    graph = _next_graph(kind_of(config), config, directory, executor, [])
    assert graph is not None
    (tmp_path / "input" / "config.json").write_text("{")
    with pytest.raises(StateError, match=r"start, driver: .*config\.json: not the settings of a run of this version"):
        executor.run(config, graph, Listener())
