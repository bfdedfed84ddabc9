"""How the public reference of Smooth InfoMax trains its decoders: its network, loss, latents, epochs and batches.

Numbers are from its default config and, for LibriSpeech, from the commands of its README.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vgim.config import DecoderConfig
from vgim.config.decoder import PADDED_TERMS
from vgim.config.keys import Tree
from vgim.model.decoding import without_pointwise
from vgim.model.specs import ConvSpec

Protocol = Literal["ours", "published"]

LEARNING_RATE, BATCH_SIZE, EPOCHS = 2e-4, 64, 200
LIBRISPEECH_BATCH_SIZE, LIBRISPEECH_EPOCHS = 8, 50
LOSS = "mse+mel"
NUM_CONVS_WITH_EXTRA_LAYERS, EXTRA_LAYERS = 2, 2
"""A decoder of two convolutions, which are module 0, has two extra layers behind each; deeper ones have none."""


def published_values(convs: Sequence[ConvSpec], loss: str, corpus: str) -> Tree:
    """Keys of a decoder's config that differ from ours under the published protocol.

    Args:
        convs: The encoder's convolutions up to the latents.
        loss: A name in `vgim.config.choices.DECODER_LOSSES`.
        corpus: Name of the corpus in the shards' manifest.
    """
    few = len(without_pointwise(convs)) == NUM_CONVS_WITH_EXTRA_LAYERS
    libri = corpus == "librispeech"
    return {
        "decoder": {"extra_layers": EXTRA_LAYERS if few else 0, "mirror_pointwise": False},
        "objective": {"padding": "reflect" if PADDED_TERMS.intersection(loss.split("+")) else "zeros"},
        "optim": {"learning_rate": LEARNING_RATE},
        "train": {
            "batch_size": LIBRISPEECH_BATCH_SIZE if libri else BATCH_SIZE,
            "epochs": LIBRISPEECH_EPOCHS if libri else EPOCHS,
        },
    }


def describe_published(config: DecoderConfig) -> str:
    """One line with what the published protocol, or an override of it, made of a config."""
    decoder, objective, train = config.decoder, config.objective, config.train
    latents = "sampled latents" if config.encoder.latents == "sample" else "latents that are not sampled"
    padded = PADDED_TERMS.intersection(objective.loss.split("+"))
    padding = f" (objective.padding={objective.padding})" if padded else ""
    return (
        f"protocol published: loss {objective.loss}{padding}, {latents}, "
        f"{decoder.channels} channels, {decoder.extra_layers} extra layers behind each transposed convolution, "
        f"{train.epochs} epochs, batches of {train.batch_size}, learning rate {config.optim.learning_rate:g}"
    )
