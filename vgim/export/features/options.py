"""What a user chooses when features of a corpus are written; importable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["mu", "z", "std"]
"""mu: the mean of the posterior, latents without one, or the GRU's context; z: a sample of the posterior; std: the
posterior's standard deviation."""
FileForm = Literal["npy", "parquet"]
"""npy: a file for each utterance; parquet: a row for each utterance, in a file for each part of the corpus."""


class FeatureOptions(BaseModel):
    """The options of `vgim features` that decide what is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    modules: tuple[int, ...] = (-1,)
    """Indices of modules, counted from the input; negative from the last. Empty for all."""
    kind: Kind = "mu"
    form: FileForm = "npy"
    splits: tuple[str, ...] = ()
    """Splits of a shard folder; empty for all."""
    seed: int = 0
    """Seed of samples (kind `z`)."""
