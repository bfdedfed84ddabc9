"""What is known of a contrastive loss without computing one; importable without torch, for readers of runs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from vgim.config.choices import CONTRASTIVE_LOSSES
from vgim.config.schema import ObjectiveConfig


class Chance(NamedTuple):
    """What a loss measures of a module that cannot tell the positive from the negatives."""

    loss: float
    """In the unit of the loss."""
    formula: str
    """The loss in words, such as "ln 11"."""


class LossFacts(ABC):
    """Name, chance and size of a contrastive loss."""

    title: ClassVar[str]
    """Name of the loss in reports."""

    @classmethod
    @abstractmethod
    def chance(cls, objective: ObjectiveConfig) -> Chance:
        """The loss of equal scores."""

    @classmethod
    def num_parameters(
        cls, objective: ObjectiveConfig, num_steps: int, channels_context: int, channels_target: int
    ) -> int:
        """How many parameters the loss of a module with K = `num_steps` has: a linear map for each step."""
        return num_steps * channels_target * channels_context


class InfoNCEFacts(LossFacts):
    """Facts of `InfoNCE`."""

    title = "InfoNCE"

    @classmethod
    def chance(cls, objective: ObjectiveConfig) -> Chance:
        """ln(1 + N)."""
        candidates = 1 + objective.num_negatives
        return Chance(math.log(candidates), f"ln {candidates}")


def loss_facts(name: str) -> type[LossFacts]:
    """The facts of the loss that a config calls `name`. Imports torch if the registry names no class for them alone.

    Raises:
        KeyError: The registry has no such name.
        TypeError: The registered class has no facts.
    """
    choice = CONTRASTIVE_LOSSES[name]
    found = choice.load_facts()
    if not (isinstance(found, type) and issubclass(found, LossFacts)):
        raise TypeError(
            f"objective.loss={name} has its facts from {found!r}, which is no subclass of LossFacts"
        )
    return found


def chance_of(objective: ObjectiveConfig) -> Chance:
    """What the config's loss measures of a module that has learned nothing."""
    return loss_facts(objective.loss).chance(objective)
