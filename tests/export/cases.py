"""Runs with drawn weights and BatchNorm statistics, made without training."""

from __future__ import annotations

from pathlib import Path

import torch

from vgim.config import load_config, to_yaml
from vgim.model.stack import build_encoder
from vgim.runs.layout import CONFIG
from vgim.runs.training_state import TrainingState
from vgim.runs.weights import save_checkpoint
from vgim.storage import Location

FAMILIES = {
    "sim": ("data.normalize=none",),
    "gim": ("model.family=gim", "objective.kld_weight=0", "model.head=linear", "data.normalize=corpus"),
    "cpc": ("model.family=cpc", "objective.kld_weight=0", "data.normalize=utterance", "train.schedule=joint"),
}
"""Overrides of quickstart for a run of each family, each with another normalization."""
SIZES = ("model.channels=6", "model.gru_units=5", "objective.prediction_steps=2")


def make_run(root: Path, name: str, *overrides: str, shards: Path | None = None, step: int = 7) -> Path:
    """The folder of a run with one checkpoint; every weight and statistic is random, and predictors are not zero."""
    config = load_config(
        "quickstart",
        [
            *SIZES,
            *overrides,
            f"data.shards={shards or root / 'no-shards'}",
            f"storage.root={root}",
            f"storage.name={name}",
        ],
    ).config
    encoder = build_encoder(config.model, config.objective, seed=1)
    generator = torch.Generator().manual_seed(0)
    for key, value in encoder.state_dict().items():
        if value.is_floating_point():
            draw = torch.rand(value.shape, generator=generator)
            value.copy_(draw + 0.5 if "running_var" in key else (draw - 0.5) * 0.8)
        if key.endswith("running_noise"):
            value.copy_(draw)
            value[0] = 1 + 1e-6  # a mean over ranks may round above 1
    run = Location(root).child(name)
    run.child(CONFIG).write_bytes_atomic(to_yaml(config).encode())
    state = TrainingState(
        step=step,
        epoch=1,
        step_in_epoch=0,
        world_size=1,
        batch_size=4,
        accumulate=1,
        seed=0,
        data_fingerprint="of no shards",
        corpus_mean=0.01,
        corpus_std=0.2,
        validation_loss=2.0,
        vgim_version="0",
        torch_version="0",
        files={},
    )
    save_checkpoint(run, encoder, torch.optim.Adam(encoder.parameters()), config, state)
    return run.local_path
