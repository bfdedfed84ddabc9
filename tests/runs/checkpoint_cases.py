"""Checkpoints of a small encoder, for tests."""

from __future__ import annotations

from typing import Any

import torch

from tests.training.cases import adam, audio, greedy_step, small_encoder
from vgim.config import RunConfig
from vgim.config.schema import DataConfig
from vgim.model.stack import Encoder
from vgim.runs.checkpoint import (
    complete_checkpoints,
)
from vgim.runs.training_state import TrainingState
from vgim.runs.weights import save_checkpoint
from vgim.storage import Location

Tensors = dict[str, torch.Tensor]


def config_of(encoder: Encoder) -> RunConfig:
    return RunConfig(data=DataConfig(shards="none"), model=encoder.model, objective=encoder.objective)


def state(step: int, loss: float | None = None, **more: Any) -> TrainingState:
    values: dict[str, Any] = {
        "step": step,
        "epoch": 1,
        "step_in_epoch": step,
        "phase": 0,
        "phase_step": step,
        "phase_epoch": 1,
        "best_loss": loss,
        "stale_validations": 0,
        "world_size": 1,
        "batch_size": 4,
        "accumulate": 1,
        "seed": 0,
        "data_fingerprint": "f" * 64,
        "validation_loss": loss,
        "vgim_version": "0",
        "torch_version": "2",
        "files": {},
    }
    return TrainingState(**{**values, **more})


def trained(steps: int = 2, **model: Any) -> tuple[Encoder, torch.optim.Optimizer]:
    encoder = small_encoder(**model)
    optimizer = adam(encoder)
    take = greedy_step(encoder, optimizer)
    for step in range(steps):
        take([audio(4, step)], step, 0.0, measure=False)
    return encoder, optimizer


def state_of(optimizer: torch.optim.Optimizer) -> Tensors:
    kinds = optimizer.state_dict()["state"]
    return {f"{n}/{kind}": value for n, values in kinds.items() for kind, value in values.items()}


def save_some(run: Location, losses: dict[int, float | None]) -> None:
    encoder, optimizer = trained(0)
    for step, loss in losses.items():
        save_checkpoint(run, encoder, optimizer, config_of(encoder), state(step, loss))


def steps_of(run: Location) -> list[int]:
    return [c.state.step for c in complete_checkpoints(run)]
