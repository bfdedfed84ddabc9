"""How near a trial's latents, taken together, are to N(0, 1), which trials are shown by beside the metric.

The KL of a posterior grows with what it tells of the input, so that a small one may mean a poor code as well as a
Gaussian one. The Kolmogorov-Smirnov distance of the aggregate posterior does not: for each dimension it is the largest
gap between the distribution function of z over all frames and that of N(0, 1), from 0 to 1, and 0 for N(0, 1) itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from vgim.config import RunConfig
from vgim.jsonl import add_line, read_lines
from vgim.latents.analyses.distribution import ks_against_normal
from vgim.latents.frame_sample import sample_frames
from vgim.latents.result import LatentOptions
from vgim.model.stack import module_specs
from vgim.pretrained.opened_run import open_run
from vgim.runs.checkpoint import Checkpoint
from vgim.storage import Location
from vgim.tune.config import MetricConfig

FILE = "latent_normality.jsonl"
MAX_UTTERANCES = 64
MAX_FRAMES = 4_000
"""Of the validation split. Of so many independent draws of N(0, 1) the distance would be 0.014 on average."""


class Normality(BaseModel):
    """A line of `latent_normality.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    epoch: int
    module: int
    num_frames: int
    mean_ks: float
    """Kolmogorov-Smirnov distance between z and N(0, 1), the mean over dimensions."""
    max_ks: float
    """That of the dimension that is farthest from it."""


def posterior_module(config: RunConfig, metric: MetricConfig) -> int | None:
    """The metric's module, or the last one before it that has a posterior; None in families that have none."""
    specs = module_specs(config.model)
    wanted = metric.module % len(specs)
    return next((index for index in range(wanted, -1, -1) if specs[index].posterior), None)


def measure(checkpoint: Checkpoint, module: int) -> Normality:
    """Compare what a module with a posterior makes of the validation split with N(0, 1), as `vgim latents` does.

    Raises:
        VgimError: the shards cannot be read, or the checkpoint was deleted meanwhile.
    """
    subject = open_run(checkpoint.location.uri, device="cpu")
    options = LatentOptions(
        module=module, split="validation", max_utterances=MAX_UTTERANCES, max_frames=MAX_FRAMES
    )
    frames = sample_frames(subject, module, options)
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
    """What was measured of the module that goes with the metric, oldest first."""
    module = posterior_module(config, metric)
    return (found for found in read_lines(run.child(FILE), Normality) if found.module == module)


def add_normality(run: Location, found: Normality) -> None:
    """Note it in the run's folder."""
    add_line(run.child(FILE), found)
