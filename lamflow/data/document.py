"""JSON documents that cross pod boundaries or are kept with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lamflow.data.files import write_whole
from lamflow.errors import REPAIR, StateError

R = TypeVar("R", bound="Result")


class Entry(BaseModel):
    """A piece of a result. Numbers that are not finite are words in its JSON, which has none for them.

    What reads a class is built when something is read first: a process reads few of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings", defer_build=True)


class Result(Entry):
    """A JSON document that crosses a pod boundary or is kept with a run."""

    schema_version: Literal[1] = 1

    def save(self, path: Path) -> None:
        """Write to `path`; a reader sees the whole document or none."""
        write_whole(path, self.model_dump_json(indent=1))

    @classmethod
    def read(cls: type[R], path: Path) -> R:
        """The document at `path`. Raises StateError when it is missing or not what it should be."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise StateError(f"{path}: this file of the run is missing; {REPAIR}") from error
        except ValidationError as error:
            first = error.errors()[0]
            why = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise StateError(
                f"{path}: no {cls.__name__} document of this version of lamflow: {why}; {REPAIR}"
            ) from error


def build_documents(kind: type[Entry] = Entry) -> None:
    """Build what reads documents of the classes that have been imported, so that jobs that are forked have it."""
    for below in kind.__subclasses__():
        below.model_rebuild()
        build_documents(below)
