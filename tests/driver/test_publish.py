"""What a run on a cluster shows while it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow import Run
from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.config import parse
from lamflow.config.schema import EvaluationStudy
from lamflow.data.evaluation import Evaluation
from lamflow.data.layout import RECORD
from lamflow.driver.argo_executor import ArgoExecutor
from lamflow.driver.prepare import prepare
from lamflow.driver.run_location import RunLocation
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError
from tests import records
from tests.conftest import STUDY
from tests.stand_ins.kubernetes import Kubernetes
from tests.stand_ins.s3 import S3Server


def test_an_evaluation_is_described_before_there_is_a_report(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    text = (
        STUDY.split("\ntrain:", maxsplit=1)[0]
        + "\nevaluate: {engine: emt}\nlabel: {engine: emt}\nworkflow: evaluation\n"
    )
    text += f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}}}\n"
    study, directory, said = parse(text, kind=EvaluationStudy), RunDirectory(tmp_path), list[str]()
    prepare(study, directory, 1)
    Evaluation.model_validate(records.iteration(0).model_dump()).save(directory.round(0) / RECORD)
    kubernetes.put({"metadata": {"name": "tiny", "namespace": "lamflow"}}, "ADDED")
    executor = ArgoExecutor(directory, RunLocation.of(study), RetryPolicy(seconds=1.0, say=said.append))
    executor.publish()
    assert said == []
    described = kubernetes.workflows["tiny"]["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert described == "Iteration 0 (start) has finished; 10 labels."
    with pytest.raises(StateError, match="there is nothing to report yet"):
        Run.open(tmp_path).report()
