"""Kinds of negatives, a file each: how the frames that a prediction is told apart from are drawn."""

from vgim.model.negatives.base import Negatives, PassSizes, negatives_of

__all__ = ["Negatives", "PassSizes", "negatives_of"]
