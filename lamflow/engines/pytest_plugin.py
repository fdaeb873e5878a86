"""pytest's plug-in for engines: `pytest --lamflow-engine NAME` runs the conformance suites on an installed engine.

It is loaded by every pytest where lamflow is installed, so lamflow is imported no earlier than a test asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lamflow.config.installed import RoleName
    from lamflow.engines.conformance.trial import Trial, Trials

SUITE = Path(__file__).with_name("conformance") / "installed.py"
pytest.register_assert_rewrite("lamflow.engines.conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that names engines."""
    parser.getgroup("lamflow").addoption(
        "--lamflow-engine", action="append", default=[], metavar="NAME",
        help="run lamflow's conformance suites on this installed engine; may be given several times",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Collect the suites where engines are named. Raises UsageError for an engine that is not installed."""
    names = config.getoption("--lamflow-engine")
    if not names:
        return
    from lamflow.config.installed import broken_engines, engines

    for name in names:
        if name in broken_engines():
            raise pytest.UsageError(f"--lamflow-engine {name}: {broken_engines()[name]}")
        if name not in engines():
            raise pytest.UsageError(f"--lamflow-engine {name}: installed are {', '.join(engines())}")
    if not config.invocation_params.args or all(str(arg).startswith("-") or arg in names for arg in _words(config)):
        config.args = [str(SUITE)]
    else:
        config.args.append(str(SUITE))


def _words(config: pytest.Config) -> list[str]:
    return [str(word) for word in config.invocation_params.args]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a role on each engine that plays it."""
    if not {"lamflow_trial", "lamflow_engine_role"} & set(metafunc.fixturenames):
        return
    from lamflow.config.installed import engines

    names = metafunc.config.getoption("--lamflow-engine") or list(engines())
    wanted = getattr(metafunc.cls, "role", None)
    pairs = [(name, role) for name in names for role in engines()[name].roles if wanted is None or role == wanted]
    name = "lamflow_engine_role"
    metafunc.parametrize(name, pairs, ids=[f"{engine}-{role}" for engine, role in pairs], indirect=True)


@pytest.fixture
def lamflow_engine_role(request: pytest.FixtureRequest) -> tuple[str, RoleName]:
    """Names of the engine and of the role that a test is about."""
    pair: tuple[str, RoleName] = request.param
    return pair


@pytest.fixture(scope="session")
def lamflow_trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """The examples of all engines, and their models."""
    from lamflow.engines.conformance.trial import Trials

    return Trials(tmp_path_factory.mktemp("lamflow-engines"))


@pytest.fixture
def lamflow_trial(lamflow_engine_role: tuple[str, RoleName], lamflow_trials: Trials) -> Trial:
    """The engine in its role."""
    return lamflow_trials.of(*lamflow_engine_role)


@pytest.fixture
def lamflow_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, as a job has it."""
    folder: Path = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(folder)
    return folder
