"""A model that exists already: where it is, and which of its heads is meant."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lamflow.config.references import RunAddress
from lamflow.config.section import InputFile, Section

RANDOM = "RANDOM"
"""The name of a head that does not exist yet: a new fitting net, initialised at random."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^/@]+/")]
ObjectAddress = Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][-a-z0-9.]+/.+")]


class PretrainedModel(Section):
    """A model file, named in one of five ways. What is not a file is fetched once, checked, and kept in a cache."""

    file: InputFile | None = None
    """A file on this machine."""
    url: WebAddress | None = None
    """An address on the web; needs `sha256`."""
    s3: ObjectAddress | None = None
    """An object like `s3://BUCKET/KEY` in the object store of `cluster.s3`."""
    name: str | None = None
    """A model's name, like `DPA-3.1-3M`; `lamflow models list` shows all of them, and your list may add more."""
    run: RunAddress | None = None
    """A run that has trained models, which must have ended."""
    model: Literal["best"] | Annotated[int, Field(ge=0, lt=64)] = "best"
    """Of a `run`: its last model with the smallest held-out force RMSE, or the one with this number."""
    sha256: Sha256 | None = None
    """What the file must hash to; needed for a `url`, checked wherever it is given."""
    head: str | None = None
    """Which head (branch) of a multi-task model is meant; `RANDOM` trains a new fitting net on its descriptor."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("file", "url", "s3", "name", "run") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of file, url, s3, name and run, not {' and '.join(given) or 'none of them'}")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of what it should give")
        return self
