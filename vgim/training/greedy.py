"""The learner of the greedy encoder: every module has its own loss, and a watch finds collapsed posteriors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vgim.config import RunConfig
from vgim.config.schema import ModelConfig
from vgim.errors import ConfigError
from vgim.model.collapse import CollapseWatch
from vgim.model.kernels import fused
from vgim.model.kl_spike import KlSpikeWatch
from vgim.model.losses import chance_of
from vgim.model.module_output import METRICS, METRICS_ON_REQUEST
from vgim.model.nat_cost import dearer_than_published
from vgim.model.optimizers import Adam
from vgim.model.precision import set_precision, slowed_by
from vgim.model.stack import Encoder, build_encoder
from vgim.model.target_rate import next_weight
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_writer import MetricsWriter
from vgim.schedules.schedule import Phase
from vgim.text import plural
from vgim.training.errors import CollapsedError
from vgim.training.learner import LearnerContext
from vgim.training.memory import check_scores_fit
from vgim.training.passes import make_passes
from vgim.training.prefetch import RankedBatch
from vgim.training.progress import Progress
from vgim.training.share import Share
from vgim.training.stages.link import StageLink
from vgim.training.step import GRAD_NORM, GreedyStep, kld_weight_at
from vgim.training.validate import Validation, validate

KLD_WEIGHT = "kld_weight"
"""Hyperparameter of a step, and under `objective.target_rate` the metric of each module: the weight of its KL term."""


def hparams_metrics(model: ModelConfig) -> list[str]:
    """TensorBoard tags to show beside the hyperparameters."""
    # TensorBoard shows one run's columns for all runs, so they are the same for every depth.
    whole = model.model_copy(update={"depth": 0}).num_modules
    return ["validation/loss", *(f"validation/module{m}/nce" for m in range(whole))]


def check_exchange(encoder: Encoder, num_virtual: int, num_ranks: int) -> None:
    """Refuse ranks with several virtual ranks each, where ranks exchange tensors within a micro-batch.

    Raises:
        ConfigError: there are more virtual ranks than ranks, and the encoder exchanges tensors.
    """
    if encoder.ranks_communicate and num_virtual > num_ranks:
        raise ConfigError(
            f"{plural(num_virtual, 'virtual rank')} are divided among {plural(num_ranks, 'rank')}, "
            "which then cannot exchange frames or statistics within a micro-batch, as model.batch_norm=sync, "
            "model.posterior_norm=sync and objective.negatives=global do; give each virtual rank a rank "
            "(cluster.workers, train.virtual_ranks, "
            "train.replicas)"
        )


class GreedyLearner:
    """A `Learner` that trains the modules of an encoder."""

    mean_metrics: tuple[str, ...] = (*(name for name in METRICS if name not in METRICS_ON_REQUEST), GRAD_NORM)
    latest_metrics: tuple[str, ...] = METRICS_ON_REQUEST

    def __init__(self, config: RunConfig, context: LearnerContext) -> None:
        self._config, self._worker = config, context.worker
        self.network = build_encoder(config.model, config.objective, config.train.seed)
        self.network.check_crop(config.data.crop_samples)
        if (
            context.worker.device.type == "cpu"
        ):  # a GPU refuses what it has not; an operating system may kill instead
            check_scores_fit(self.network, config)
        self.network.to(context.worker.device)
        self.optimizer: torch.optim.Optimizer = Adam(
            self.network.parameters(), lr=config.optim.learning_rate, fused=True
        )
        self._autocast = set_precision(config.train.precision)
        self._watch: CollapseWatch | None = None
        self._spikes = KlSpikeWatch((), config.objective.logvar_max)
        self._step: GreedyStep | None = None
        self._link: StageLink | None = None
        self._share, self._trained = Share.of_each(context.worker.group), tuple[int, ...]()
        self.kl_weights: tuple[float, ...] = ()
        if config.objective.target_rate:
            self.latest_metrics = (*METRICS_ON_REQUEST, KLD_WEIGHT)

    @property
    def hparams_metrics(self) -> Sequence[str]:
        return hparams_metrics(self.network.model)

    def warnings(self) -> Sequence[str]:
        warning = dearer_than_published(self._config)
        return [] if warning is None else [warning]

    def slowed_by(self, device: torch.device) -> Sequence[str]:
        train = self._config.train
        # torch.compile makes kernels of its own instead.
        found = slowed_by(train.precision, device), None if train.compile else fused.left_out(device)
        return [sentence for sentence in found if sentence is not None]

    def begin_phase(
        self, phase: Phase, progress: Progress, share: Share, link: StageLink | None = None
    ) -> None:
        check_exchange(self.network, share.num_virtual, share.group.size)
        self._share, self._trained, self._link = share, phase.modules, link
        if link is not None:
            for m in set(range(len(self.network))) - set(phase.modules):
                for parameter in self.network.module(m).parameters():
                    self.optimizer.state.pop(parameter, None)  # other ranks keep it
        if self._config.objective.target_rate:
            # All modules have none yet where a run starts, and those behind the modules of a shallower run.
            num_new = len(self.network) - len(progress.kl_weights)
            self.kl_weights = progress.kl_weights + num_new * (self._config.objective.kld_weight,)
        self.network.eval()
        for m in phase.modules:
            self.network.module(m).train()
            self.network.module(m).set_rank_group(share.group)
        self._step = GreedyStep(
            self.network,
            make_passes(
                self.network,
                phase.modules,
                share.group,
                autocast=self._autocast,
                compile_modules=self._config.train.compile,
                cuda_graphs=self._config.train.cuda_graphs,
            ),
            self.optimizer,
            seed=self._config.train.seed,
            share=share,
            clip_norm=self._config.optim.clip_norm,
            autocast=self._autocast,
            link=link,
        )
        self._watch = self._make_watch(phase, progress)
        # A normalized posterior has no variance above 1.
        normed = self._config.model.posterior_norm != "none"
        unbounded = [m for m in phase.modules if self._has_posterior(m) and not normed]
        self._spikes = KlSpikeWatch(unbounded, self._config.objective.logvar_max)

    def step(
        self, audio: Sequence[Tensor], progress: Progress, *, measure: bool
    ) -> Sequence[Mapping[str, Tensor]]:
        assert self._step is not None
        objective = self._config.objective
        weight = kld_weight_at(objective, progress.phase_step)
        if not objective.target_rate:
            return self._step(audio, progress.step, weight, measure=measure)
        warm = progress.phase_step >= objective.kld_warmup_steps
        weights = {m: w if warm else weight for m, w in enumerate(self.kl_weights)}
        metrics = self._step(audio, progress.step, weights, measure=measure)
        if warm:
            self._adapt_kl_weights(metrics)
        return [
            {**own, KLD_WEIGHT: own["loss"].new_tensor(weights[m] if self._has_posterior(m) else math.nan)}
            for m, own in zip(self._trained, metrics, strict=True)
        ]

    def step_hyperparameters(self, progress: Progress) -> dict[str, float]:
        if self._config.objective.target_rate:  # each module has its own
            return {}
        return {KLD_WEIGHT: kld_weight_at(self._config.objective, progress.phase_step)}

    def check_record(self, record: MetricsRecord, progress: Progress, log: Callable[[str], None]) -> None:
        """Log spikes of the KL, and posteriors that have newly collapsed.

        Raises:
            CollapsedError: a posterior has collapsed, and `objective.on_collapse` is stop.
        """
        by_module = {metrics["module"]: metrics for metrics in record["modules"]}
        spiking = [by_module[m] for m in self._spikes.modules]
        for message in self._spikes.update(
            progress.step, [m["kl_per_element"] for m in spiking], [m[GRAD_NORM] for m in spiking]
        ):
            log(message)
        if self._watch is None:
            return
        watched = [by_module[m] for m in self._watch.modules]
        for warning in self._watch.update(
            progress.step, [m["nce"] for m in watched], [m["active_units"] for m in watched]
        ):
            log(warning.message)
            if self._config.objective.on_collapse == "stop" and warning.collapsed:
                raise CollapsedError(f"{warning.message} (objective.on_collapse=stop)")

    def validate(
        self,
        phase: Phase,
        progress: Progress,
        batches: Iterable[RankedBatch],
        writer: MetricsWriter | None,
    ) -> Validation:
        return validate(
            self.network,
            phase.modules,
            batches,
            seed=self._config.train.seed,
            group=self._share.group,
            kld_weight=self._config.objective.kld_weight,
            autocast=self._autocast,
            link=self._link,
        )

    def _adapt_kl_weights(self, metrics: Sequence[Mapping[str, Tensor]]) -> None:
        """Adapt the KL weights of the trained modules to the KL of this step, the same on all ranks."""
        rates = torch.stack([own["kl_per_frame"] for own in metrics]) * self._share.weight
        self._share.group.all_reduce_mean(rates)
        weights = list(self.kl_weights)
        for m, rate in zip(self._trained, rates.tolist(), strict=True):
            if self._has_posterior(m):
                weights[m] = next_weight(weights[m], rate, self._config)
        self.kl_weights = tuple(weights)

    def _has_posterior(self, m: int) -> bool:
        return self.network.module(m).posterior is not None

    def _make_watch(self, phase: Phase, progress: Progress) -> CollapseWatch | None:
        """The watch over the posteriors that a phase trains; None if it trains none, or their KL has no weight."""
        objective = self._config.objective
        watched = [m for m in phase.modules if self._has_posterior(m)]
        if not watched or not objective.kld_weight:
            return None
        return CollapseWatch(
            watched,
            chance_of(objective).loss,
            patience_steps=objective.collapse_patience_steps,
            start_step=progress.step - progress.phase_step + objective.kld_warmup_steps,
        )
