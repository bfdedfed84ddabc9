"""Contrastive losses, a file each: how well a module's contexts predict its own later latents.

The package itself imports no torch: `facts.py` has what readers of a run need.
"""

from vgim.model.losses.facts import Chance, LossFacts, chance_of, loss_facts

__all__ = ["Chance", "LossFacts", "chance_of", "loss_facts"]
