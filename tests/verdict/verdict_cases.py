"""Figures of runs with known answers, for tests of verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vgim.config import RunConfig
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.verdict.figures import Measurement, ModuleFigures, RunFigures

CHANCE = math.log(11)


def config(
    *,
    family: str = "sim",
    kld_weight: float = 0.001,
    warmup: int = 0,
    target_rate: float = 0.0,
    kl_reduction: str = "time_sum",
    channels: int = 512,
    **train: Any,
) -> RunConfig:
    """A config of two convolutional modules and a GRU; one module for family cpc."""
    return RunConfig.model_validate(
        {
            "data": {"shards": "/nowhere"},
            "model": {
                "family": family,
                "channels": channels,
                "kernels": (10, 8),
                "strides": (5, 4),
                "paddings": (2, 2),
                "layers_per_module": (1, 1),
            },
            "objective": {
                "kld_weight": kld_weight if family == "sim" else 0.0,
                "kld_warmup_steps": warmup,
                "target_rate": target_rate,
                "kl_reduction": kl_reduction,
            },
            "train": {"epochs": 100, **train},
            "storage": {"root": "/runs", "name": "run"},
        }
    )


def falling(start: float, end: float, steps: int, num_records: int = 40) -> tuple[tuple[int, float], ...]:
    """A straight line with a little noise that is the same each time."""
    return tuple(
        (
            round(steps * (i + 1) / num_records),
            start + (end - start) * i / (num_records - 1) + 0.004 * math.sin(7 * i),
        )
        for i in range(num_records)
    )


def figures(
    nce: Sequence[float | None] = (1.4, 1.5, 1.6),
    *,
    of: RunConfig | None = None,
    steps: int = 2000,
    crops: int | None = 100,
    active: Sequence[float] = (0.9, 0.9, 0.9),
    curve: tuple[tuple[int, float], ...] | None = None,
    reached: float | None = None,
    rates: Sequence[float] = (),
    on_training: bool = False,
    probes: Sequence[ProbeResult] = (),
    validations: tuple[tuple[int, float], ...] = (),
    collapse_events: Sequence[int] = (),
    **more: Any,
) -> RunFigures:
    """A run whose modules have these InfoNCE on the validation split."""
    run = of or config()
    modules = []
    for module, value in enumerate(nce):
        flat = () if value is None else falling(value, value, steps)
        modules.append(
            ModuleFigures(
                module=module,
                has_posterior=run.model.family == "sim" and module < 2,
                num_spans=10,
                validation=None if on_training else Measurement(value, crops),
                training=Measurement(value, crops),
                curve=flat if curve is None else curve,
                validations=validations,
                steps=steps,
                kld_weight=run.objective.kld_weight if reached is None else reached,
                rate=rates[module] if module < len(rates) else None,
                active_units=active[module],
                has_collapse_event=module in collapse_events,
            )
        )
    given = {
        "uri": "/runs/run",
        "step": steps,
        "epoch": steps / 100,
        "command": ("/opt/bin/vgim", "train", "librispeech-sim", "train.epochs=100", "storage.name=run"),
    }
    return RunFigures(config=run, modules=tuple(modules), probes=probes, **{**given, **more})


def probe(
    encoder: str,
    accuracy: float,
    *,
    half: float = 0.02,
    module: int | None = 0,
    task: str = "phone",
    step: int | None = 2000,
    majority: float = 0.1,
    **options: Any,
) -> ProbeResult:
    """A probe's result whose interval is the accuracy ± `half`."""
    is_trained = encoder == "trained"
    return ProbeResult.model_validate(
        {
            "task": task,
            "encoder": encoder,
            "module": None if encoder == "mfcc" else module,
            "step": step if is_trained else None,
            "checkpoint": "/runs/run/checkpoints/step-00002000" if is_trained else None,
            "num_features": 8,
            "accuracy": accuracy,
            "interval_over_utterances": {"low": accuracy - half, "high": accuracy + half},
            "interval_over_seeds": None,
            "majority": majority,
            "chance": 0.05,
            "per_class": {},
            "unit": "frame",
            **{
                f"num_{split}{of}": 100
                for split in ("train", "validation", "test")
                for of in ("", "_utterances")
            },
            "num_left_out": 0,
            "test_utterances_seen": 0,
            "batch_norm_clips": 0,
            "fits": [],
            "notes": [],
            "options": ProbeOptions(task=task, **options),
            "run_config": config(),
            "data": "/nowhere",
            "data_fingerprint": "0" * 64,
            "created": "2026-01-02T03:04:05+00:00",
            "versions": {},
            "git_revision": "",
        }
    )


def probes(trained: float, random: float | None, mfcc: float | None, **more: Any) -> list[ProbeResult]:
    """Results of the trained encoder and of the baselines that are not None."""
    accuracies = {"trained": trained, "random": random, "mfcc": mfcc}
    return [probe(encoder, value, **more) for encoder, value in accuracies.items() if value is not None]
