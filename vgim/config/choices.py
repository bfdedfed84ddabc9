"""Choices of a config that a class of another room implements: a new choice is one line here and one file there.

The schema accepts the names in these registries; help texts and messages list them. A room imports the class of a
choice when it needs it, so that reading a config imports no model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function


@dataclass(frozen=True)
class Choice:
    """One value that a config key may have."""

    description: str
    """Completes "NAME: …" in the key's help text."""
    implementation: str
    """The class or function that implements the choice, as "package.module:Name"."""
    facts: str = ""
    """Class of what is known of a contrastive loss without torch, written alike; empty if only the implementation
    knows, which readers of runs then import."""

    def load(self) -> object:
        """The class or function that implements the choice; imports its module."""
        module, _, name = self.implementation.partition(":")
        found: object = getattr(import_module(module), name)
        return found

    def load_facts(self) -> object:
        """The class that knows what is known without computing: `facts`, or else the implementation."""
        return Choice(self.description, self.facts or self.implementation).load()


CONTRASTIVE_LOSSES: dict[str, Choice] = {
    "info_nce": Choice(
        "cross-entropy of the positive among 1 + N candidates",
        "vgim.model.losses.info_nce:InfoNCE",
        facts="vgim.model.losses.facts:InfoNCEFacts",
    ),
}
"""Classes of the shape `vgim.model.losses.base.ContrastiveLoss`."""

NEGATIVES: dict[str, Choice] = {
    "batch": Choice(
        "over all frames of the rank's batch, one draw for all k", "vgim.model.negatives.batch:BatchNegatives"
    ),
    "sequence": Choice("of the same utterance", "vgim.model.negatives.sequence:SequenceNegatives"),
    "exact": Choice("never the positive, a draw per k", "vgim.model.negatives.exact:ExactNegatives"),
    "global": Choice("over the frames of all ranks", "vgim.model.negatives.all_ranks:GlobalNegatives"),
}
"""Classes of the shape `vgim.model.negatives.base.Negatives`."""


DECODER_LOSS_TERMS: dict[str, Choice] = {
    "mse": Choice("mean squared difference of the samples", "vgim.decode.losses:mse"),
    "spectral": Choice("mean squared difference of power spectrograms", "vgim.decode.losses:spectral"),
    "fft": Choice("mean absolute difference of the magnitudes of one FFT", "vgim.decode.losses:fft"),
    "fft_phase": Choice("mean absolute difference of the phases of one FFT", "vgim.decode.losses:fft_phase"),
    "mel": Choice("mean squared difference of mel spectrograms in dB", "vgim.decode.losses:mel"),
    "stft": Choice("multi-resolution STFT loss", "vgim.decode.losses:stft"),
}
"""Functions of the shape `vgim.decode.losses.LossTerm`."""


PUBLISHED_SUMS = ("fft+fft_phase",)
"""Sums of terms that the public reference uses as one loss."""


@dataclass(frozen=True)
class AloneOrWithMse(Collection[str]):
    """Names of decoder losses: each term and each published sum, alone and added to mse."""

    terms: Mapping[str, Choice]
    sums: Sequence[str]

    def __iter__(self) -> Iterator[str]:
        for term in [*self.terms, *self.sums]:
            yield from [term] if term == "mse" else [term, f"mse+{term}"]

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __len__(self) -> int:
        return 2 * (len(self.terms) + len(self.sums)) - 1


DECODER_LOSSES = AloneOrWithMse(DECODER_LOSS_TERMS, PUBLISHED_SUMS)


def describe(choices: Mapping[str, Choice]) -> str:
    """The help text of a key that takes one of `choices`."""
    return "; ".join(f"{name}: {choice.description}" for name, choice in choices.items()) + "."


@dataclass(frozen=True)
class OneOf:
    """Annotation of a string that must be a name in a registry when the config is validated."""

    choices: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.choices)}

    def _check(self, name: str) -> str:
        if name not in self.choices:
            raise PydanticCustomError(
                "literal_error", "Input should be one of {names}", {"names": list(self.choices)}
            )
        return name
