"""One greedy module: layers, an optional head or posterior, and its own InfoNCE loss (Löwe et al. 2019).

Shapes: B crops, L samples, T frames, W window frames, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vgim.config.model_sections import NormKind
from vgim.config.schema import ObjectiveConfig
from vgim.errors import ConfigError
from vgim.model.conv import ALL, ConvStack
from vgim.model.draws import Draws, make_draws
from vgim.model.kernels import fused, gru
from vgim.model.kl_unit import in_unit
from vgim.model.losses.base import ContrastiveLoss, ContrastiveResult, contrastive_loss
from vgim.model.module_output import Encoded, ModuleOutput, active_units
from vgim.model.posterior import GaussianHead, Posterior, gaussian_kl, reduce_kl, sample
from vgim.model.posterior_norm import PosteriorNorm
from vgim.model.precision import at_least_fp32, autocast_to
from vgim.model.randomness import DrawKey, draw_seed
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.specs import ModuleSpec
from vgim.model.sync import RankBatchNorm, gather_rows


class GreedyModule(nn.Module):
    """Layers trained by their own loss; no gradient enters or leaves.

    Family sim: the targets z and the contexts c are two samples of the posterior. Family gim: there is no posterior,
    and c = z is the output of the last convolution, as in Löwe et al. (2019), or of a linear head on it, as in the
    GIM that V-GIM was published with. If the module has a GRU, c = GRU(z). In sim and gim the GRU is a module by
    itself, and z is its input. In cpc it follows the convolutions and the head in one module, and the gradient runs
    through all. A bidirectional GRU has a second context, of the latents from the end to t, which predicts latents
    before t by predictors of its own (Kawakami et al. 2020); the loss is the mean of both directions.
    """

    def __init__(
        self,
        index: int,
        spec: ModuleSpec,
        objective: ObjectiveConfig,
        batch_norm: NormKind,
        posterior_norm: NormKind,
    ) -> None:
        super().__init__()
        self.index = index
        self.spec = spec
        self.objective = objective
        self.num_steps = objective.steps_of_module(index)
        """K: frames ahead that the module predicts."""
        self.group = ALONE
        self.layers = ConvStack(
            spec.convs, spec.channels_in, spec.channels, batch_norm, spec.relus, spec.preemphasis
        )
        # Linear and a 1×1 Conv1d have the same default initialization (fan-in C).
        self.head = nn.Linear(spec.channels, spec.channels) if spec.head else None
        self.posterior = None
        if spec.posterior:
            self.posterior = GaussianHead(
                spec.channels, logvar_max_of(objective), centered=spec.posterior_norm
            )
        self.posterior_norm = PosteriorNorm(spec.channels) if spec.posterior_norm else None
        self._shares_posterior_norm = posterior_norm == "sync"
        self.gru = None
        if spec.gru_units:
            self.gru = nn.GRU(
                spec.channels, spec.gru_units, batch_first=True, bidirectional=spec.gru_bidirectional
            )
        self.nce = self._make_loss()
        if spec.gru_bidirectional:
            self.nce_reverse = self._make_loss()

    def _make_loss(self) -> ContrastiveLoss:
        spec = self.spec
        return contrastive_loss(self.objective.loss)(
            self.objective, self.num_steps, spec.gru_units or spec.channels, spec.channels
        )

    def set_rank_group(self, group: RankGroup) -> None:
        """Share statistics (those that are `sync`) and negatives (`negatives: global`) with other ranks."""
        self.group = group
        if self.posterior_norm is not None and self._shares_posterior_norm:
            self.posterior_norm.group = group
        for layer in self.layers.modules():
            if isinstance(layer, RankBatchNorm):
                layer.group = group

    def keep_gru_uncompiled(self) -> None:
        """Let torch.compile call the GRU, which it cannot trace, as it is; call before the module is compiled.

        No decorator, because torch.compiler.disable imports the compiler, which takes seconds.
        """
        if self.spec.gru_units:
            self._run_gru = torch.compiler.disable(self._run_gru)  # type: ignore[no-untyped-call, method-assign]

    def num_frames(self, num_in: int) -> int:
        """Frames of the output for `num_in` frames of the input, or samples if the module reads audio."""
        return self.layers.num_frames(num_in)

    def layer_index(self, layer: int) -> int:
        """Index of a convolution in the module, from 0; a negative `layer` counts from the last.

        Raises:
            ConfigError: The module has no such convolution.
        """
        num_layers = len(self.spec.convs)
        if -num_layers <= layer < num_layers:
            return layer % num_layers
        if not num_layers:
            raise ConfigError(
                f"layer={layer} but module {self.index} has no convolutions; name a module before it, or no layer"
            )
        raise ConfigError(
            f"layer={layer} but module {self.index} has its convolutions 0 to {num_layers - 1}; use one of them, or "
            "no layer for the module's output"
        )

    def draw(self, x: Tensor, key: DrawKey, *, deterministic: bool = False) -> Draws:
        """Draw all that is random in the forward pass over `x`.

        Args:
            x: Input of the pass; only its shape and device matter.
            key: The same key gives the same draws.
            deterministic: Draw no noise, so that c = z = μ; the negatives stay random. By default z and c are sampled
                in eval mode too, so that a validation loss compares with the training loss.

        Raises:
            ConfigError: The module makes fewer than two frames of `x`, so that there is nothing to predict.
        """
        objective = self.objective
        num_frames = self.num_frames(x.shape[1])
        num_window = min(num_frames, objective.window_frames or num_frames)
        if num_window < 2:
            raise self._too_short(num_frames)
        # In eval mode the last batch may have another size on each rank, and a gather needs equal sizes.
        pooled = self.nce.negatives.pools_ranks and self.training
        weight = self.nce.weight
        return make_draws(
            seed=draw_seed(key, self.index),
            device=x.device,
            dtype=weight.dtype,
            num_crops=x.shape[0],
            num_frames=num_frames,
            num_window=num_window,
            num_steps=self.num_steps,
            num_negatives=objective.num_negatives,
            negatives=self.nce.negatives,
            num_ranks=self.group.size if pooled else 1,
            noise_channels=0 if deterministic or self.posterior is None else self.spec.channels,
        )

    def forward(
        self, x: Tensor, draws: Draws, kld_weight: float | Tensor = 0.0, measure: bool = False
    ) -> ModuleOutput:
        """The module's loss on a batch.

        Args:
            x: Audio [B, L] for the first module, else the latents [B, T, C] of the module before.
            draws: From `draw`.
            kld_weight: Weight of the KL term at this step; the number 0 leaves the term out.
            measure: Also compute `active_units`.
        """
        return self.contrast(self.encode(x, draws, kld_weight), draws, kld_weight, measure)

    def encode(self, x: Tensor, draws: Draws, kld_weight: float | Tensor = 0.0) -> Encoded:
        """The first part of `forward`, with which the module behind can begin."""
        h_BTC = self.run_layers(x)
        if self.posterior is not None:
            return self._sample_posterior(h_BTC, draws, kld_weight)
        z_BTC = self._apply_head(h_BTC)
        return Encoded(z_BTC, None, z_BTC, None, at_least_fp32(z_BTC.new_zeros(())))

    def contrast(
        self, encoded: Encoded, draws: Draws, kld_weight: float | Tensor = 0.0, measure: bool = False
    ) -> ModuleOutput:
        """The second part of `forward`: the contexts, and the loss."""
        z_BTC, c_BWC, mean_BTC, penalty, kl_per_element = encoded
        if c_BWC is None:
            if self.spec.gru_units:  # not `self.gru`, which torch.compile cannot trace
                mean_BTC = self._run_gru(z_BTC)
            c_BWC = draws.window(mean_BTC[..., : self.spec.gru_units or None])
        nce, accuracy = self._loss_of(self.nce, c_BWC, z_BTC, draws)
        if self.spec.gru_bidirectional:
            # The same loss in reversed time, where the latents before a frame are those behind it.
            back_BWC = draws.window(mean_BTC[..., self.spec.gru_units :].flip(1))
            nce_back, accuracy_back = self._loss_of(self.nce_reverse, back_BWC, z_BTC.flip(1), draws)
            nce, accuracy = (nce + nce_back) / 2, (accuracy + accuracy_back) / 2
        return ModuleOutput(
            loss=nce if penalty is None else nce + kld_weight * penalty,
            nce=nce.detach(),
            kl=kl_per_element * z_BTC.shape[1],
            kl_per_element=kl_per_element,
            kl_per_frame=kl_per_element * z_BTC.shape[2],
            accuracy=accuracy,
            active_units=active_units(mean_BTC.detach()) if measure else None,
            latents=z_BTC.detach(),
        )

    def _loss_of(
        self, loss: ContrastiveLoss, c_BWC: Tensor, z_BTC: Tensor, draws: Draws
    ) -> ContrastiveResult:
        pool_RC = z_BTC.flatten(0, 1)
        if draws.pooled:
            pool_RC = gather_rows(pool_RC, self.group)
        return loss(c_BWC, z_BTC, pool_RC, draws)  # type: ignore[no-any-return]

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation [B, T, C] of the module's output for `x`, without a loss.

        The mean is GRU(z) if the module has a GRU, else μ or z; z is the head's output if the module has a head. The
        deviation is None without a posterior.
        """
        return self._distribution(self.run_layers(x))

    def represent(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The module's output [B, T, C]: the mean, or a sample of its posterior, if it has one, by a `generator`."""
        return self.finish(self.run_layers(x), generator)

    def layer(self, x: Tensor, layer: int) -> Tensor:
        """Output [B, T, C] of convolution `layer` for the module's input `x`, after its BatchNorm and ReLU."""
        return at_least_fp32(self.run_layers(x, slice(self.layer_index(layer) + 1)))

    def layers_and_output(
        self, x: Tensor, layers: Sequence[int], generator: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Outputs of several convolutions, and the module's output, in one pass over `x`.

        Args:
            x: Input of the module.
            layers: Indices of the convolutions, ascending.
            generator: See `represent`.

        Returns:
            What `layer` returns for each of `layers`, and what `represent` returns.
        """
        inner = []
        done = 0
        for layer in layers:
            x = self.run_layers(x, slice(done, layer + 1))
            inner.append(at_least_fp32(x))
            done = layer + 1
        return inner, self.finish(self.run_layers(x, slice(done, None)), generator)

    def run_layers(self, x: Tensor, layers: slice = ALL) -> Tensor:
        """Output [B, T, C] of the module's convolutions, or of consecutive ones, for the input of the first of them."""
        if not self.spec.convs[layers]:
            return x
        h_BTC: Tensor = self.layers(x[..., None] if x.ndim == 2 else x, layers)
        return h_BTC

    def finish(
        self,
        h_BTC: Tensor,
        generator: torch.Generator | None = None,
        lengths_B: Tensor | Sequence[int] | None = None,
    ) -> Tensor:
        """The module's output for the output of its last convolution; see `represent`.

        Args:
            h_BTC: Output of `run_layers`.
            generator: See `represent`.
            lengths_B: Frames of each row, if rows are padded behind; a GRU that reads from the end begins there.
        """
        return _mean_or_sample(*self._distribution(h_BTC, lengths_B), generator)

    def _distribution(
        self, h_BTC: Tensor, lengths_B: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if self.posterior is None:
            z_BTC = self._apply_head(h_BTC)
            return at_least_fp32(z_BTC) if self.gru is None else self._run_gru(z_BTC, lengths_B), None
        posterior = self.posterior.split(self._head_of_posterior(h_BTC), self.posterior.logvar_max)
        return posterior.mu, torch.exp(0.5 * posterior.logvar)

    def _apply_head(self, h_BTC: Tensor) -> Tensor:
        """z of the last convolution's output, in a module without a posterior."""
        if self.head is None:
            return h_BTC
        z_BTC: Tensor = self.head(h_BTC)
        return z_BTC

    def _run_gru(self, h_BTC: Tensor, lengths_B: Tensor | Sequence[int] | None = None) -> Tensor:
        """The GRU's output in its weights' dtype: autocast would run cuDNN's in fp16, where small gradients vanish."""
        assert self.gru is not None
        with autocast_to(None, h_BTC.device):
            h_BTC = h_BTC.to(next(self.gru.parameters()).dtype)
            if lengths_B is None or not self.spec.gru_bidirectional:  # reading forward, it sees no padding
                if gru.applies(self.gru, h_BTC):
                    return gru.run(self.gru, h_BTC)
                out_BTC: Tensor = self.gru(h_BTC)[0]
                return out_BTC
            lengths = torch.as_tensor(lengths_B, device="cpu")
            packed = pack_padded_sequence(h_BTC, lengths, batch_first=True, enforce_sorted=False)
            out = self.gru(packed)[0]
            return pad_packed_sequence(out, batch_first=True, total_length=h_BTC.shape[1])[0]

    def _head_of_posterior(self, h_BTC: Tensor) -> Tensor:
        """μ and log σ² side by side, [B, T, 2·C], before the bound on log σ²."""
        assert self.posterior is not None
        head_BTX = self.posterior.project(h_BTC)
        return head_BTX if self.posterior_norm is None else self.posterior_norm(at_least_fp32(head_BTX))

    def _sample_posterior(self, h_BTC: Tensor, draws: Draws, kld_weight: float | Tensor) -> Encoded:
        assert self.posterior is not None
        objective = self.objective
        penalized = isinstance(kld_weight, Tensor) or kld_weight > 0
        head_BTX = self._head_of_posterior(h_BTC)
        sampled = draws.eps_z is not None and draws.eps_c is not None
        if sampled and objective.free_bits == 0 and fused.applies(head_BTX):
            z_BTC, c_BWC, kl_per_element = fused.sample_and_kl(head_BTX, draws, self.posterior.logvar_max)
            penalty = None
            if penalized:
                penalty = in_unit(
                    kl_per_element, head_BTX.shape[1], self.spec.channels, objective.kl_reduction
                )
            mean_BTC = head_BTX[..., : self.spec.channels]
            return Encoded(z_BTC, c_BWC, mean_BTC, penalty, kl_per_element.detach())
        posterior = self.posterior.split(head_BTX, self.posterior.logvar_max)
        z_BTC, c_BWC = posterior.mu, draws.window(posterior.mu)
        if draws.eps_z is not None and draws.eps_c is not None:
            z_BTC = sample(posterior, draws.eps_z)
            c_BWC = sample(Posterior(c_BWC, draws.window(posterior.logvar)), draws.eps_c)
        with torch.set_grad_enabled(penalized and torch.is_grad_enabled()):
            kl_BTC = gaussian_kl(*posterior)
            penalty = reduce_kl(kl_BTC, objective.kl_reduction, objective.free_bits) if penalized else None
        return Encoded(z_BTC, c_BWC, posterior.mu, penalty, kl_BTC.detach().mean())

    def _too_short(self, num_frames: int) -> ConfigError:
        if self.objective.window_frames == 1:
            return ConfigError(
                "objective.window_frames=1 leaves no later frame to predict; use 2 or more, or 0 for all"
            )
        return ConfigError(
            f"data.crop_samples is too small: module {self.index} gets frames={num_frames} and needs 2 to "
            f"predict one from another; use at least {self.spec.min_samples} samples, or fewer modules"
        )


def logvar_max_of(objective: ObjectiveConfig) -> float:
    """The bound of log σ²; infinity for none."""
    return math.inf if objective.logvar_max == "none" else objective.logvar_max


def _mean_or_sample(mean: Tensor, std: Tensor | None, generator: torch.Generator | None) -> Tensor:
    if std is None or generator is None:
        return mean
    eps = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return torch.addcmul(mean, std, eps)
