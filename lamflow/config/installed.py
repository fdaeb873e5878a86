"""The engines that are installed: what entry points in the group `lamflow.engines` name.

A third party's engine is a peer of the built-in ones: its package declares an entry point whose object is an `Engine`
of `lamflow.engines.engine`. Settings see no more of it than an `InstalledEngine`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, Literal, Never, TypeVar, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from lamflow.config.engines import (
    EngineSettings,
    ExplorerSettings,
    FolderSettings,
    LabelerSettings,
    SearcherSettings,
    TrainerSettings,
)
from lamflow.errors import InputError

GROUP = "lamflow.engines"
RoleName = Literal["train", "explore", "search", "label", "evaluate", "relax"]
SETTINGS: Mapping[RoleName, type[EngineSettings]] = {
    "train": TrainerSettings,
    "explore": ExplorerSettings,
    "search": SearcherSettings,
    "label": LabelerSettings,
    "evaluate": EngineSettings,
    "relax": FolderSettings,
}
"""What the settings of each role derive from."""

S_co = TypeVar("S_co", bound=EngineSettings, covariant=True)
I_co = TypeVar("I_co", covariant=True)


@dataclass(frozen=True)
class Role(Generic[S_co, I_co]):
    """One role that an engine plays.

    settings  class of its settings
    make      from such settings to what plays the role; imports the code itself no earlier than this
    image     the container image that has the code, where the engine's own has not
    example   an `Example` of `lamflow.engines.example` with files below a folder; the conformance suite runs it
    """

    settings: type[S_co]
    make: Callable[[Never], I_co]
    image: str | None = None
    example: Callable[[Path], Any] | None = None


@dataclass(frozen=True)
class InstalledEngine:
    """A code and the roles that it plays, as settings see it. Engines are made as `lamflow.engines.engine.Engine`.

    name      the word after `engine:` in a configuration, and of the entry point
    probe     returns the code's version, or raises an exception that says why it does not work here
    install   what a person types to get the code
    image     the container image that has the code
    packages  distributions whose versions belong into a run's record
    """

    name: str
    probe: Callable[[], str]
    install: str = "comes with lamflow"
    image: str = "base"
    packages: tuple[str, ...] = ()

    @property
    def roles(self) -> dict[RoleName, Role[EngineSettings, Any]]:
        """The roles that the engine plays, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: given[name] for name in SETTINGS if given.get(name) is not None}

    def image_of(self, role: str) -> str:
        """The container image of a step in which the engine plays `role`."""
        own = next((given.image for name, given in self.roles.items() if name == role), None)
        return own or self.image

    def version(self) -> str:
        """What `probe` says, or why it says nothing, on one line."""
        return _version(self.probe)

    def __post_init__(self) -> None:
        """Raise TypeError for roles whose settings cannot be chosen by the engine's name."""
        for name, role in self.roles.items():
            problem = _problem(self.name, name, role)
            if problem:
                raise TypeError(f"engine {self.name!r}: {name}: {problem}")
        explores = {role.settings for name, role in self.roles.items() if name in ("explore", "search")}
        if len(explores) > 1:
            raise TypeError(f"engine {self.name!r}: an entry of `explore` has one kind of settings; explore or search")


def _problem(engine: str, name: RoleName, role: Any) -> str | None:
    """Why a role is none; None if it is one."""
    if not isinstance(role, Role):
        return f"must be a Role, not {role!r}"
    if not (isinstance(role.settings, type) and issubclass(role.settings, SETTINGS[name])):
        return f"its settings must derive from {SETTINGS[name].__name__}; {role.settings!r} does not"
    if engine not in get_args(role.settings.model_fields["engine"].annotation):
        return f"the key `engine` of {role.settings.__name__} must be Literal[{engine!r}]"
    if name == "explore" and issubclass(role.settings, SearcherSettings):
        return f"{role.settings.__name__} are settings of a search; play `search`"
    return None if callable(role.make) else f"must be made by a function of its settings, not by {role.make!r}"


@functools.cache
def _version(probe: Callable[[], str]) -> str:
    try:
        return probe()
    except Exception as error:  # noqa: BLE001  a probe says by any exception what is wrong
        return f"does not work here: {error}".splitlines()[0]


@functools.cache
def _installed() -> tuple[dict[str, InstalledEngine], dict[str, str]]:
    """Engines by name, and why those do not load that do not. Raises InputError for two of one name."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    _refuse_twins(points)
    loaded: dict[str, InstalledEngine] = {}
    broken: dict[str, str] = {}
    for point in points:
        try:
            engine = point.load()
            if not isinstance(engine, InstalledEngine):
                raise TypeError(f"it is no Engine but {engine!r}")  # noqa: TRY301  said below like any other reason
            if engine.name != point.name:
                raise TypeError(f"the entry point is called {point.name!r} and the engine {engine.name!r}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  a third party's package must not take lamflow down
            reason = (str(error) or type(error).__name__).splitlines()[0]
            broken[point.name] = f"{point.value} of {_distribution(point)} does not load: {reason}"
            print(f"lamflow: the engine {point.name!r} is left out: {broken[point.name]}", file=sys.stderr)
        else:
            loaded[engine.name] = engine
    return loaded, broken


def _refuse_twins(points: Iterable[EntryPoint]) -> None:
    """Raise InputError when two engines have one name."""
    owners: dict[str, EntryPoint] = {}
    for point in points:
        other = owners.setdefault(point.name, point)
        if other is not point:
            raise InputError(
                f"two engines are called {point.name!r}: {other.value} of {_distribution(other)} and {point.value} of "
                f"{_distribution(point)}; uninstall one of these packages"
            )


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"


def engines() -> dict[str, InstalledEngine]:
    """Every engine that can be loaded here, by name. One that cannot is named on standard error and left out.

    Raises InputError when two engines have one name.
    """
    return _installed()[0]


def broken_engines() -> dict[str, str]:
    """Why engines cannot be loaded that are installed here, by name."""
    return _installed()[1]


def engine_named(name: str) -> InstalledEngine:
    """The engine called `name`; KeyError if there is none."""
    return engines()[name]


def engine_packages() -> list[str]:
    """Distributions whose versions belong into a run's record, of all engines that are installed."""
    return sorted({package for engine in engines().values() for package in engine.packages})


@dataclass(frozen=True)
class ChosenByEngine:
    """Marks a field whose settings class is chosen by its key `engine` among the engines that play one of `roles`."""

    roles: tuple[RoleName, ...]

    def __init__(self, *roles: RoleName) -> None:
        object.__setattr__(self, "roles", roles)

    def choices(self) -> dict[str, type[EngineSettings]]:
        """The settings classes, by the engine's name."""
        return {
            engine.name: engine.roles[role].settings
            for engine in engines().values()
            for role in self.roles
            if role in engine.roles
        }

    def __get_pydantic_core_schema__(self, source: type[EngineSettings], handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {
            name: handler.generate_schema(settings) for name, settings in self.choices().items()
        }
        choices |= {name: _refusing(name, reason) for name, reason in broken_engines().items()}
        return core_schema.tagged_union_schema(choices, discriminator="engine")


def _refusing(name: str, reason: str) -> CoreSchema:
    """Settings of an engine that does not load: always wrong, for that reason."""

    def refuse(value: object) -> object:
        del value
        raise ValueError(f"engine {name!r} cannot be used here: {reason}")

    return core_schema.no_info_after_validator_function(refuse, core_schema.any_schema())
