"""A step on a real Slurm with accounts, limits and the database that keeps them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lamflow.api import Study
from lamflow.driver import batch_doctor
from lamflow.errors import ClusterError
from tests.batch.conftest import Background, Trial
from tests.stand_ins.slurm import SlurmCluster

pytestmark = pytest.mark.slow

LIMIT = "this account or qos has a limit for that: `sacctmgr show qos`"
LONG = "`wall_time` under `batch:`.* is longer than partition, account or qos allow"


@pytest.mark.parametrize(
    ("batch", "pod", "says"),
    [
        ({"account": "none"}, {}, "Invalid account .*`account` under `batch:` is not one that you may use"),
        ({"account": "physics"}, {}, "Invalid account .*`account` under `batch:` is not one that you may use"),
        ({"qos": "none"}, {}, "Invalid qos .*`qos` under `batch:` is not one that this account may use"),
        ({"qos": "secret"}, {}, "Invalid qos .*`qos` under `batch:` is not one that this account may use"),
        ({"qos": "strict"}, {}, f"refuses: .*QOSMaxWallDurationPerJobLimit.*{LONG}"),
        ({"qos": "short"}, {}, rf"would wait for ever: .*\(QOSMaxWallDurationPerJobLimit\).*{LONG}"),
        ({"qos": "onegpu"}, {"gpus": 2}, f"refuses: .*QOSMaxGRESPerUser.*{LIMIT}"),
    ],
)  # fmt: skip
def test_what_an_account_or_a_qos_does_not_allow_is_named_with_its_fix(
    batch: dict[str, Any], pod: dict[str, Any], says: str, accounts: SlurmCluster, trial: Trial
) -> None:
    with pytest.raises(ClusterError) as raised:
        trial.carried(1, pod, wall_time=600, **batch).run()
    assert re.search(says, str(raised.value), re.DOTALL)
    assert not accounts.ask("squeue", "-h", "-t", "pending,running").strip()


def test_an_array_beyond_the_submit_limit_goes_in_parts(accounts: SlurmCluster, trial: Trial) -> None:
    trial.carried(3, qos="few").run()
    parts = [array.elements for array in trial.standing.arrays]
    assert parts[0] == [[0]]
    assert [element for part in parts for element in part] == [[0], [1], [2]], (
        "when the first has ended, two more or one after the other"
    )
    assert [trial.times(job) for job in range(3)] == [1, 1, 1]
    (said,) = trial.said
    assert re.search(r"the queue is full: .*QOSMaxSubmitJobPerUserLimit.*what it takes is submitted", said, re.DOTALL)


def test_hours_that_are_used_up_are_waited_for_and_told(
    accounts: SlurmCluster, trial: Trial, in_background: Background
) -> None:
    step = in_background(trial.carried(1, account="spent").run)
    accounts.wait(lambda: bool(trial.said))
    assert re.search(r"waits: PENDING \(AssocGrpCPUMinutesLimit\)\n.*are used up.*another `account`", trial.said[0])
    accounts.ask("sacctmgr", "-i", "modify", "account", "spent", "set", "GrpTRESMins=cpu=-1")
    step.result(180)
    assert trial.times(0) == 1


def test_a_database_that_is_down_holds_nothing_up(
    accounts: SlurmCluster, trial: Trial, in_background: Background
) -> None:
    go = trial.store / "go"
    trial.order(_0=f"wait {go}")
    step = in_background(trial.carried(2, array_size=1, together=1).run)
    accounts.wait(lambda: bool(list((trial.store / "work" / "scratch").glob("*/ran.txt"))))
    for name in ("slurmdbd", "mariadbd"):
        accounts.kill(name)
    go.touch()
    step.result(180)
    trial.carried(4).run()
    assert [trial.times(job) for job in range(4)] == [1] * 4
    assert trial.said == []
    (accounts.folder / "mariadb.socket").unlink()
    accounts.start("mariadbd")
    accounts.wait((accounts.folder / "mariadb.socket").exists)
    accounts.start("slurmdbd")
    accounts.wait(lambda: "strict" in accounts.ask("sacctmgr", "-n", "show", "qos"))


@pytest.mark.parametrize(
    ("batch", "state", "says"),
    [
        ("", "good", "lamflow"),
        (", account: physics", "bad", "`account` under `batch:` is not one that you may use"),
        (", qos: strict", "bad", "QOSMaxWallDurationPerJobLimit"),
        (", qos: short, wall_time: 600", "bad", "it would wait for ever: PENDING (QOSMaxWallDurationPerJobLimit)"),
    ],
)  # fmt: skip
def test_doctor_names_it_before_a_run(
    batch: str, state: str, says: str, study: Path, accounts: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.parent)
    study.write_text(
        study.read_text(encoding="utf-8") + f"batch: {{system: slurm, poll: 1{batch}}}\n", encoding="utf-8"
    )
    _, *jobs = batch_doctor.doctor(Study.load(study).config)
    assert {check.name for check in jobs} == {"train job", "explore job", "label job"}
    assert {check.state for check in jobs} == {state}
    assert all(says in check.says for check in jobs)
