"""Contrastive losses, a file each: how well a module's contexts predict its own later latents."""

from vgim.model.losses.base import Chance, ContrastiveLoss, ContrastiveResult, chance_of, contrastive_loss

__all__ = ["Chance", "ContrastiveLoss", "ContrastiveResult", "chance_of", "contrastive_loss"]
