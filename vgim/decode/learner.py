"""The learner of a decoder: the frozen encoder makes latents of each crop, the decoder reconstructs the crop.

Shapes: B crops, L samples, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from vgim.config import DecoderConfig
from vgim.decode.losses import load_term, log_spectral_distance_db, si_sdr_db, weighted_terms
from vgim.decode.spectrograms import spectrogram, spectrogram_pair
from vgim.model.decoding import Decoder
from vgim.model.optimizers import Adam
from vgim.model.precision import autocast_to, set_precision, slowed_by
from vgim.model.randomness import DrawKey, draw_seed, seeded_generator
from vgim.pretrained.decoder import ENCODER, build_decoder, layer_of
from vgim.pretrained.encoder import load_encoder
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_writer import MetricsWriter
from vgim.schedules.schedule import Phase
from vgim.training.ddp import DataParallelModules
from vgim.training.errors import NotFiniteError
from vgim.training.learner import LearnerContext
from vgim.training.prefetch import RankedBatch
from vgim.training.progress import Progress
from vgim.training.share import Share, SharedStatistics
from vgim.training.stages.link import StageLink
from vgim.training.validate import Validation


class DecoderLearner:
    """The `Learner` of a decoder of one module's latents. Records list its metrics under that module."""

    latest_metrics: tuple[str, ...] = ()
    kl_weights: tuple[float, ...] = ()

    def __init__(self, config: DecoderConfig, context: LearnerContext) -> None:
        self._config, self._worker = config, context.worker
        self._module, self._layer = config.encoder.module, layer_of(config)
        device = context.worker.device
        self._encoder = load_encoder(context.run.child(ENCODER).uri, device=device).encoder
        self.network: Decoder = build_decoder(config, self._encoder).to(device)
        self.optimizer: torch.optim.Optimizer = Adam(
            self.network.parameters(), lr=config.optim.learning_rate, fused=True
        )
        self._weights = weighted_terms(config.objective.loss, config.objective.weight)
        self._term_functions = {name: load_term(name, config.objective.padding) for name in self._weights}
        self._terms = tuple(name for name in self._weights if name != config.objective.loss)
        self.mean_metrics = ("loss", *self._terms, "grad_norm")
        self._autocast = set_precision(config.train.precision)
        self._data_parallel: DataParallelModules | None = None
        self._share = Share.of_each(context.worker.group)
        self._statistics = SharedStatistics([], self._share)

    def module(self, index: int) -> nn.Module:
        """The decoder, whatever `index` is; `DataParallelModules` wraps it."""
        return self.network

    @property
    def hparams_metrics(self) -> Sequence[str]:
        return ["validation/loss", f"validation/module{self._module}/si_sdr_db"]

    def warnings(self) -> Sequence[str]:
        return []

    def slowed_by(self, device: torch.device) -> Sequence[str]:
        sentence = slowed_by(self._config.train.precision, device)
        return [] if sentence is None else [sentence]

    def begin_phase(
        self, phase: Phase, progress: Progress, share: Share, link: StageLink | None = None
    ) -> None:
        self.network.train()
        self._data_parallel = DataParallelModules(
            self, phase.modules, share.group, compile_modules=self._config.train.compile
        )
        self._share, self._statistics = share, SharedStatistics([self.network], share)

    def step(
        self, audio: Sequence[Tensor], progress: Progress, *, measure: bool
    ) -> Sequence[Mapping[str, Tensor]]:
        assert self._data_parallel is not None
        network = self._data_parallel.modules[self._module]
        batch_metrics: list[dict[str, Tensor]] = []
        scale = self._share.loss_scale(len(audio))
        for virtual_rank, own in self._statistics.each_virtual_rank(audio):
            for number, audio_BL in enumerate(own):
                key = DrawKey(self._config.train.seed, progress.step, virtual_rank, number, "decoder")
                latents_BTC = self._latents(audio_BL, key)
                last = len(batch_metrics) == len(audio) - 1
                with self._data_parallel.gradient_context(self._module, last=last):
                    metrics = self._loss(self._decode(network, latents_BTC, audio_BL.shape[1]), audio_BL)
                    (metrics["loss"] * scale).backward()  # type: ignore[no-untyped-call]
                batch_metrics.append({name: value.detach() for name, value in metrics.items()})
        self._data_parallel.wait_for_gradients()
        parameters = list(self.network.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not torch.isfinite(norm):  # the same on all ranks, after the all-reduce
            losses = ", ".join(f"{metrics['loss'].item():.4g}" for metrics in batch_metrics)
            raise NotFiniteError(
                f"the gradient of the decoder is not finite at step {progress.step} (loss on this rank: {losses}); the "
                "weights and the checkpoints are unchanged; lower optim.learning_rate, or set optim.clip_norm"
            )
        if self._config.optim.clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, self._config.optim.clip_norm, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        means = {
            name: torch.stack([metrics[name] for metrics in batch_metrics]).mean()
            for name in batch_metrics[0]
        }
        return [means | {"grad_norm": norm}]

    def step_hyperparameters(self, progress: Progress) -> dict[str, float]:
        return {}

    def check_record(self, record: MetricsRecord, progress: Progress, log: Callable[[str], None]) -> None:
        """A decoder has no posterior that could collapse."""

    @torch.no_grad()
    def validate(
        self,
        phase: Phase,
        progress: Progress,
        batches: Iterable[RankedBatch],
        writer: MetricsWriter | None,
    ) -> Validation:
        """Average metrics over all crops. Ranks may have different numbers of batches, so sums are all-reduced once."""
        names = ("loss", *self._terms, "si_sdr_db", "log_spectral_distance_db")
        sums = torch.zeros(len(names) + 1, dtype=torch.float64, device=self._worker.device)
        self.network.eval()
        for ranked in batches:
            audio_BL = ranked.input
            key = DrawKey(self._config.train.seed, 0, ranked.rank, ranked.number, "decoder validation")
            output_BL = self._decode(self.network, self._latents(audio_BL, key), audio_BL.shape[1])
            metrics = self._loss(output_BL, audio_BL)
            metrics["si_sdr_db"] = si_sdr_db(output_BL, audio_BL).mean()
            metrics["log_spectral_distance_db"] = log_spectral_distance_db(output_BL, audio_BL).mean()
            row = torch.stack([*(metrics[name] for name in names), torch.ones_like(metrics["loss"])])
            sums += len(audio_BL) * row.double()
            if writer is not None:  # sounds of the first batch only
                if self._writes_sounds(phase, progress):
                    self._write_sounds(writer, progress.step, audio_BL, output_BL)
                writer = None
        self.network.train()
        self._worker.group.all_reduce_sum(sums)
        means = (sums[:-1] / sums[-1]).tolist()
        return Validation(
            [{"module": self._module, **dict(zip(names, means, strict=True))}], int(sums[-1].item())
        )

    def _latents(self, audio_BL: Tensor, key: DrawKey) -> Tensor:
        """Latents of the frozen encoder, [B, T, C]: means, or samples that depend on `key`."""
        sampled = self._config.encoder.latents == "sample"
        generator = seeded_generator(audio_BL.device, draw_seed(key, self._module)) if sampled else None
        with autocast_to(self._autocast, audio_BL.device):
            return self._encoder.encode(
                audio_BL, self._module, self._layer, deterministic=not sampled, generator=generator
            )

    def _decode(self, network: nn.Module, latents_BTC: Tensor, num_samples: int) -> Tensor:
        with autocast_to(self._autocast, latents_BTC.device):
            output_BL: Tensor = network(latents_BTC, num_samples)
        return output_BL

    def _loss(self, output_BL: Tensor, audio_BL: Tensor) -> dict[str, Tensor]:
        """The weighted loss, and each of its terms unless the loss is a single term."""
        terms = {name: term(output_BL, audio_BL) for name, term in self._term_functions.items()}
        loss = torch.stack([self._weights[name] * value for name, value in terms.items()]).sum()
        return {"loss": loss, **{name: terms[name] for name in self._terms}}

    def _writes_sounds(self, phase: Phase, progress: Progress) -> bool:
        """Whether the validation at `progress` writes sounds: every few epochs, and the last one."""
        listen, train = self._config.listen, self._config.train
        last = progress.phase_epoch >= phase.epochs or 0 < train.max_steps <= progress.phase_step
        return listen.crops > 0 and (last or progress.epoch % listen.every_epochs == 0)

    def _write_sounds(self, writer: MetricsWriter, step: int, audio_BL: Tensor, output_BL: Tensor) -> None:
        """Write audio and spectrograms of the first crops, their reconstructions, and draws from N(0, I)."""
        num_crops = min(self._config.listen.crops, len(audio_BL))
        generator = seeded_generator(audio_BL.device, self._config.train.seed)
        shape = (
            num_crops,
            self.network.num_frames(audio_BL.shape[1]),
            self._encoder.channels(self._module, self._layer),
        )
        draws_BTC = torch.randn(shape, generator=generator, device=audio_BL.device)
        drawn_BL = self.network(draws_BTC, audio_BL.shape[1])
        for i in range(num_crops):
            loudest = (
                audio_BL[i].abs().max().clamp_min(1e-6)
            )  # one scale for the original and its reconstruction
            writer.audio(f"original/{i}", (audio_BL[i] / loudest).clamp(-1, 1), step)
            writer.audio(f"reconstruction/{i}", (output_BL[i] / loudest).clamp(-1, 1), step)
            writer.audio(f"draw/{i}", drawn_BL[i] / drawn_BL[i].abs().max().clamp_min(1e-6), step)
            writer.image(f"reconstruction/{i}", spectrogram_pair(audio_BL[i], output_BL[i]), step)
            writer.image(f"draw/{i}", spectrogram(drawn_BL[i]), step)
