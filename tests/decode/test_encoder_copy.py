"""The copy of an encoder that a decoder keeps has all that readers of the encoder's run get."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.training.cases import assert_same, run_location
from vgim.config import ResolvedConfig
from vgim.decode.train import DecoderOptions, train_decoder
from vgim.errors import CheckpointError
from vgim.pretrained.decoder import load_decoder
from vgim.pretrained.encoder import load_encoder
from vgim.runs.checkpoint import find_checkpoint
from vgim.runs.layout import STATISTICS
from vgim.training.trainer import train

SHORT = ("train.batch_size=4", "train.max_steps=2", "listen.crops=1")


def test_the_decoder_of_an_augmented_run_reads_statistics_of_recorded_crops(
    tiny_config: Callable[..., ResolvedConfig],
) -> None:
    resolved = tiny_config("data.augment.noise_snr_db=0", "train.max_steps=2")
    assert train(resolved) == 0
    run = run_location(resolved.config)
    assert train_decoder(run.uri, DecoderOptions(module=0), SHORT) == 0
    copied = load_decoder(run.child("decoder", "module0-mse").uri).encoder
    assert_same(copied.encoder.state_dict(), load_encoder(run.uri).encoder.state_dict())
    checkpoint = find_checkpoint(run.uri)
    assert_same(copied.encoder.state_dict(), checkpoint.weights_for_readers())
    checkpoint.location.child(STATISTICS).delete()
    with pytest.raises(CheckpointError, match=r"statistics\.safetensors is missing"):
        train_decoder(run.uri, DecoderOptions(module=1), SHORT)
    assert not run.child("decoder", "module1-mse").exists()
