"""The distance of a trial's latents from N(0, 1), which a sweep's results show beside the metric.

The KL of a posterior grows with the information that it carries about the input, so that a small KL may mean a poor
code as well as a Gaussian one. The Kolmogorov-Smirnov (KS) distance of the aggregate posterior does not. For each
dimension it is the largest gap between the distribution function of z over all frames and that of N(0, 1): from 0 to 1,
and 0 for N(0, 1) itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from vgim.config import RunConfig
from vgim.jsonl import append_record, read_records
from vgim.model.specs import module_specs
from vgim.runs.checkpoint import Checkpoint
from vgim.storage import Location
from vgim.tune.config import MetricConfig

FILE = "latent_normality.jsonl"
MAX_UTTERANCES = 64
MAX_FRAMES = 4_000
"""Frames of the validation split. For this many independent draws of N(0, 1) the KS distance averages 0.014."""


class Normality(BaseModel):
    """A line of `latent_normality.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    step: int
    epoch: int
    module: int
    num_frames: int
    mean_ks: float
    """KS distance between z and N(0, 1), mean over dimensions."""
    max_ks: float
    """KS distance of the dimension that is farthest from N(0, 1)."""


def posterior_module(config: RunConfig, metric: MetricConfig) -> int | None:
    """The metric's module, or the last one before it that has a posterior; None for a family without posteriors."""
    specs = module_specs(config.model)
    module = metric.module % len(specs)
    return next((index for index in range(module, -1, -1) if specs[index].posterior), None)


def measure_normality(checkpoint: Checkpoint, module: int) -> Normality:
    """Compare a module's latents of the validation split with N(0, 1), as `vgim latents` does.

    Args:
        module: index of a module with a posterior.

    Raises:
        VgimError: the shards cannot be read, or training has deleted the checkpoint.
    """
    # Here, because readers of a sweep's results import this file, and these import torch.
    from vgim.latents.analyses.distribution import ks_against_normal
    from vgim.latents.frame_sample import sample_frames
    from vgim.latents.result import LatentOptions
    from vgim.pretrained.opened_run import open_run

    run = open_run(checkpoint.location.uri, device="cpu")
    options = LatentOptions(
        module=module, split="validation", max_utterances=MAX_UTTERANCES, max_frames=MAX_FRAMES
    )
    frames = sample_frames(run, module, options)
    ks_C = ks_against_normal(frames.z_NC)
    return Normality(
        step=checkpoint.state.step,
        epoch=checkpoint.state.epoch,
        module=module,
        num_frames=len(frames.z_NC),
        mean_ks=float(ks_C.mean()),
        max_ks=float(ks_C.max()),
    )


def read_normality(run: Location, config: RunConfig, metric: MetricConfig) -> Iterator[Normality]:
    """The measurements of the metric's posterior module, oldest first."""
    module = posterior_module(config, metric)
    return (line for line in read_records(run.child(FILE), Normality) if line.module == module)


def add_normality(run: Location, normality: Normality) -> None:
    """Append a measurement to the run's `latent_normality.jsonl`."""
    append_record(run.child(FILE), normality)
