"""Helpers for tests of training: small encoders, comparisons bit for bit, a trainer in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vgim.config import RunConfig
from vgim.config.schema import ModelConfig, ObjectiveConfig, OptimConfig
from vgim.data.stream.readers import read_in_process
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.stack import Encoder, build_encoder
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.training.ddp import DataParallelModules
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.passes import EagerPasses
from vgim.training.share import Share
from vgim.training.step import GreedyStep

SAMPLES = 5_120
TIMINGS = ("time", "steps_per_s", "crops_per_s", "data_wait_s", "compute_s", "overhead_s", "source_age_s")


def small_encoder(*, objective: dict[str, Any] | None = None, **model: Any) -> Encoder:
    """An encoder of eight channels in training mode, whose predictors are not zero."""
    return build_encoder(
        ModelConfig(**{"channels": 8, "gru_units": 8, **model}),
        ObjectiveConfig(
            **{"prediction_steps": 3, "num_negatives": 5, "predictor_init": "uniform", **(objective or {})}
        ),
        seed=0,
    )


def adam(encoder: Encoder, **optim: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(encoder.parameters(), lr=OptimConfig(**optim).learning_rate, fused=True)


def data_parallel_modules(encoder: Encoder, group: RankGroup = ALONE) -> DataParallelModules:
    """All modules of an encoder, as a rank of `group` calls them."""
    return DataParallelModules(encoder, range(len(encoder)), group)


def greedy_step(
    encoder: Encoder,
    optimizer: torch.optim.Optimizer,
    *,
    clip_norm: float = 0.0,
    data_parallel: DataParallelModules | None = None,
    group: RankGroup = ALONE,
) -> GreedyStep:
    """The step that trains all modules of an encoder."""
    return GreedyStep(
        encoder,
        EagerPasses(encoder, data_parallel or data_parallel_modules(encoder, group), None),
        optimizer,
        seed=3,
        share=Share.of_each(group),
        clip_norm=clip_norm,
        autocast=None,
    )


def audio(num_crops: int, seed: int = 0, num_samples: int = SAMPLES) -> Tensor:
    return torch.randn(num_crops, num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def copied_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Assert that two sets of tensors are the same bit for bit."""
    assert one.keys() == other.keys()
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert not differing, f"{len(differing)} of {len(one)} tensors differ, first {differing[0]}"


def differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


def run_location(config: RunConfig) -> Location:
    return Location(config.storage.root).child(config.storage.name)


def last_checkpoint(config: RunConfig) -> Checkpoint:
    return complete_checkpoints(run_location(config))[-1]


def single_rank_trainer(
    config: RunConfig,
    kind: type[RankTrainer] = RankTrainer,
    report: Callable[[dict[str, float], Location], None] = lambda metrics, checkpoint: None,
    **job: Any,
) -> RankTrainer:
    """The trainer of a run with one rank, in this process. The run's folder is made, but not claimed."""
    run_location(config).make_dirs()
    device = "cpu" if config.cluster.device == "auto" else config.cluster.device
    worker = Worker(ALONE, torch.device(device), read_in_process, report)
    return kind(TrainJob(config=config, run=run_location(config).uri, learner=GreedyLearner, **job), worker)


def records(run: Location | Path, *kinds: str) -> list[dict[str, Any]]:
    """Records of metrics.jsonl; fails if a line is not strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = Location(run).child("metrics.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=refuse) for line in lines]
    return [record for record in found if not kinds or record["kind"] in kinds]


def without_timings(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without the values that differ between two runs of the same steps."""
    return [{key: value for key, value in record.items() if key not in TIMINGS} for record in found]


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, do: Callable[[], None]) -> None:
    """Do something within a step of training, the first time."""
    take_step, done = GreedyLearner.step, []

    def taken(learner: GreedyLearner, audio: Any, progress: Any, **options: Any) -> Any:
        if progress.step + 1 == step and not done:
            done.append(True)
            do()
        return take_step(learner, audio, progress, **options)

    monkeypatch.setattr(GreedyLearner, "step", taken)


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def state_of(config: RunConfig) -> tuple[str, str]:
    """State and message in a run's record."""
    record = RunFolder(run_location(config)).record()
    assert record is not None
    return record.state, record.message
