"""A round on this machine that cannot be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import Config, load
from lamflow.data.graph import Graph
from lamflow.driver.listener import Listener
from lamflow.driver.local_executor import LocalExecutor, _explanation
from lamflow.driver.loop import _next_graph, begin
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, NodeError, StateError
from lamflow.flow.kinds import kind_of


@pytest.fixture
def begun(study: Path, tmp_path: Path) -> tuple[Config, LocalExecutor, Graph]:
    """A run that has begun, and the graph of its first round."""
    directory, config = RunDirectory(tmp_path), load(study)
    executor = LocalExecutor(directory)
    with executor.locked():
        begin(config, directory, executor)
        graph = _next_graph(kind_of(config), config, directory, executor, [])
    assert graph is not None
    return config, executor, graph


def test_a_round_that_cannot_be_built_says_why_and_is_not_tried_again(
    begun: tuple[Config, LocalExecutor, Graph], tmp_path: Path
) -> None:
    config, executor, graph = begun
    (tmp_path / "input" / "config.json").write_text("{")
    said = r"start, driver: .*config\.json: not the settings of a run of this version"
    with executor.locked(), pytest.raises(StateError, match=said):
        executor.run(config, graph, Listener())


def test_a_record_that_a_full_disk_cut_off_says_so(begun: tuple[Config, LocalExecutor, Graph], tmp_path: Path) -> None:
    errors, log, graph = tmp_path / "work" / "errors", tmp_path / "work" / "round.log", begun[2]
    errors.mkdir(parents=True)
    log.touch()
    (errors / "label-0.json").touch()
    said = _explanation(errors, graph, log)
    assert isinstance(said, NodeError)
    assert "the disk is full" in str(said)
    (errors / "label-1.json").write_text('{"kind": "InputError", "message": "no such element"}')
    assert isinstance(_explanation(errors, graph, log), InputError), "a reason that can be read is the reason"
