"""The model, in pure torch: convolutions, posterior, InfoNCE, one greedy module, the stack of them."""

from vgim.model.audio import to_float
from vgim.model.draws import Draws
from vgim.model.module import GreedyModule, ModuleOutput
from vgim.model.randomness import DrawKey
from vgim.model.stack import Encoder, build_encoder

__all__ = ["DrawKey", "Draws", "Encoder", "GreedyModule", "ModuleOutput", "build_encoder", "to_float"]
