"""One rank of a run whose stages have ranks of their own: its place, its links, and its part of what the run writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vgim.config import RunConfig
from vgim.model.module_output import METRICS
from vgim.model.precision import set_precision
from vgim.model.stack import Encoder
from vgim.runs.histogram import Histogram
from vgim.runs.metrics import MetricsRecord
from vgim.training.job import AnyTrainJob
from vgim.training.learner import Worker
from vgim.training.progress import Progress
from vgim.training.share import Share
from vgim.training.stages.costs import module_costs
from vgim.training.stages.link import StageLink
from vgim.training.stages.mesh import StageMesh, agreed_costs, leaves_a_choice, plan_stages
from vgim.training.stages.reports import StageReports
from vgim.training.validate import Validation

WIRE = {"fp32": torch.float32, "bf16": torch.bfloat16}
BOUNDARIES_PER_STAGE = 2
"""Step boundaries by which two neighbouring stages may differ while neither waits for the other."""


@dataclass(frozen=True)
class StageRank:
    """This rank's place in the mesh and its connections. All ranks call its methods at the same steps."""

    mesh: StageMesh
    link: StageLink
    reports: StageReports
    prefixes: tuple[str, ...]
    """How the names of this stage's parameters and buffers begin."""
    device: torch.device

    @property
    def share(self) -> Share:
        """This rank's share of its stage's work."""
        return self.mesh.share

    @property
    def lag(self) -> int:
        """Step boundaries that the stages may be apart."""
        return BOUNDARIES_PER_STAGE * len(self.mesh.stages)

    def owns(self, name: str) -> bool:
        """Whether this stage trains the parameter or buffer of a name."""
        return name.startswith(self.prefixes)

    def whole_record(self, record: MetricsRecord, said: list[str]) -> tuple[MetricsRecord, list[str]]:
        """A `train` record of this stage, and sentences for the log; on rank 0 those of all stages."""
        traffic = self.link.take_traffic()
        num_steps = traffic.num_steps
        own: dict[str, Any] = {
            "stage": self.mesh.number,
            "ranks": len(self.mesh.stage.ranks),
            "first_module": self.mesh.stage.modules[0],
            "last_module": self.mesh.stage.modules[-1],
            "steps_per_s": record["steps_per_s"],
            "compute_s": max(record["compute_s"] - traffic.wait_s / num_steps, 0.0),
            "data_wait_s": record["data_wait_s"],
            "input_wait_s": traffic.input_wait_s / num_steps,
            "output_wait_s": traffic.output_wait_s / num_steps,
            "sent_mb_per_s": traffic.bytes_sent / 1e6 / num_steps * record["steps_per_s"],
            "buffer_fill": traffic.num_ready / traffic.num_received if traffic.num_received else None,
        }
        others = self.reports.exchange({"stage": own, "modules": record["modules"], "said": said})
        stages = [*(other["stage"] for other in others), own]
        modules = [module for other in others for module in other["modules"]] + record["modules"]
        whole = {
            **record,
            # The first stage reads the data, the slowest one sets the pace.
            "data_wait_s": stages[0]["data_wait_s"],
            "compute_s": max(stage["compute_s"] for stage in stages),
            "modules": modules,
            "stages": stages,
        }
        return whole, [sentence for other in others for sentence in other["said"]] + said

    def whole_validation(self, own: Validation) -> Validation:
        """The validation of all stages' modules, on every rank; on rank 0 with the histograms of all stages."""
        num_modules = self.mesh.stages[-1].modules[-1] + 1
        rows = torch.zeros(num_modules, len(METRICS), dtype=torch.float64, device=self.device)
        if self.mesh.leads:
            for metrics in own.modules:
                rows[int(metrics["module"])] = rows.new_tensor([metrics[name] for name in METRICS])
        self.mesh.world.all_reduce_sum(rows)
        modules = [
            {"module": m, **dict(zip(METRICS, row, strict=True))} for m, row in enumerate(rows.tolist())
        ]
        others = self.reports.exchange({"histograms": own.histograms})
        before = {tag: Histogram(*values) for other in others for tag, values in other["histograms"].items()}
        return Validation(modules, own.num_crops, before | own.histograms)

    def whole_checkpoint(
        self, tensors: Mapping[str, Mapping[str, Tensor]], progress: Progress
    ) -> tuple[Mapping[str, Mapping[str, Tensor]], Progress]:
        """This stage's tensors and progress; on rank 0 the tensors of all stages, and all KL weights."""
        weights = {m: w for m, w in enumerate(progress.kl_weights) if m in self.mesh.stage.modules}
        for other in self.reports.exchange({"kl_weights": list(weights.items())}):
            weights.update(dict(other["kl_weights"]))
        if progress.kl_weights and self.mesh.world.rank == 0:
            progress = replace(progress, kl_weights=tuple(weights[m] for m in sorted(weights)))
        return self.reports.gather_tensors(tensors), progress


def stage_rank(job: AnyTrainJob, worker: Worker, network: nn.Module, num_virtual: int) -> StageRank:
    """This rank's place among the stages of its job; all ranks call it alike.

    Raises:
        ConfigError: the ranks make no stages such as the config asks for.
    """
    config = job.config
    assert isinstance(config, RunConfig)
    assert isinstance(network, Encoder)
    train, world = config.train, worker.group
    costs = [1.0] * len(network)
    if leaves_a_choice(train, world.size):
        if world.rank == 0:
            costs = module_costs(
                network,
                train.batch_size,
                config.data.crop_samples,
                config.objective.kld_weight,
                set_precision(train.precision),
            )
        costs = agreed_costs(costs, world, worker.device)
    stages = plan_stages(train, costs, world.size, num_virtual, exchanging=network.ranks_communicate)
    mesh = StageMesh(stages, world, num_virtual)
    first = mesh.stage.modules[0]
    shape = None
    if first:
        before = network.module(first - 1)
        shape = network.module_frames(config.data.crop_samples)[first - 1], before.spec.channels
    link = StageLink(
        mesh,
        train.accumulate,
        shape,
        dtype=WIRE[train.transfer_dtype],
        device=worker.device,
        num_buffers=train.transfer_buffers,
    )
    prefixes = tuple(network.prefix(m) for m in mesh.stage.modules)
    return StageRank(mesh, link, StageReports(mesh), prefixes, worker.device)
