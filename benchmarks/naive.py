"""The greedy step written straight from the formulas, for `step.py` to compare with. Run it to count its FLOPs.

One map, K·C wide, makes all K predictions and is sliced for each step. Every frame of the module gets copies of its N
negatives. Scores are joined and go through log_softmax. The losses of all modules are added up for one backward pass.
Convolutions have a bias; μ and log σ² have a 1×1 convolution each; Adam is torch's default one. A test shows that
losses and gradients equal those of `vgim.model`.

Shapes: B crops, T frames, W window frames, C channels, K prediction steps, N negatives.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import NamedTuple

import torch
from common import parser, print_table, start, write_json
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.model.module import GreedyModule
from vgim.model.specs import ModuleSpec, module_specs
from vgim.model.stack import Encoder


class NaiveDraws(NamedTuple):
    """Random numbers of a module's pass, for every frame."""

    start: int
    """First frame of the window."""
    rows: Tensor
    """[N, B·T]: rows of each frame's negatives."""
    eps_z: Tensor
    """[B, C, T]: noise of the targets; empty without a posterior."""
    eps_c: Tensor
    """[B, C, T]: noise of the contexts; empty without a posterior."""


class NaiveModule(nn.Module):
    """One greedy module: convolutions with BatchNorm and ReLU, heads of the posterior, GRU, map to the predictions."""

    def __init__(
        self, spec: ModuleSpec, objective: ObjectiveConfig, num_steps: int, batch_norm: bool
    ) -> None:
        super().__init__()
        self.objective = objective
        self.num_steps = num_steps
        layers: list[nn.Module] = []
        channels = spec.channels_in
        for conv in spec.convs:
            layers.append(nn.Conv1d(channels, spec.channels, *conv))
            layers += [nn.BatchNorm1d(spec.channels)] if batch_norm else []
            layers.append(nn.ReLU())
            channels = spec.channels
        self.layers = nn.Sequential(*layers)
        self.mu = nn.Conv1d(channels, channels, 1) if spec.posterior else None
        self.logvar = nn.Conv1d(channels, channels, 1) if spec.posterior else None
        self.gru = nn.GRU(channels, spec.gru_units, batch_first=True) if spec.gru_units else None
        wide = num_steps * channels
        self.predictor = nn.Linear(spec.gru_units or channels, wide, bias=False)

    def draw(self, latents_BCT: Tensor) -> NaiveDraws:
        """Draw for all frames, from torch's global generator."""
        B, C, T = latents_BCT.shape
        device = latents_BCT.device
        window = self._window(T)
        start = int(torch.randint(T - window + 1, (), device="cpu"))
        rows = torch.stack(
            [torch.randperm(B * T, device=device) for _ in range(self.objective.num_negatives)]
        )
        shape = (B, C, T) if self.mu is not None else (0,)
        eps_z, eps_c = (torch.randn(shape, device=device) for _ in range(2))
        return NaiveDraws(start, rows, eps_z, eps_c)

    def forward(self, x_BCT: Tensor, draws: NaiveDraws | None, kld_weight: float) -> tuple[Tensor, Tensor]:
        """The module's loss, and its latents [B, C, T]."""
        h_BCT = self.layers(x_BCT)
        draws = draws or self.draw(h_BCT)
        kl = h_BCT.new_zeros(())
        z_BCT = c_BCT = h_BCT
        if self.mu is not None and self.logvar is not None:
            mu_BCT, logvar_BCT = self.mu(h_BCT), self.logvar(h_BCT)
            std_BCT = torch.exp(0.5 * logvar_BCT)
            z_BCT, c_BCT = mu_BCT + std_BCT * draws.eps_z, mu_BCT + std_BCT * draws.eps_c
            kl = (-0.5 * (1 + logvar_BCT - mu_BCT**2 - logvar_BCT.exp()).sum(2)).mean()
        z_BTC, c_BTC = z_BCT.permute(0, 2, 1), c_BCT.permute(0, 2, 1)
        if self.gru is not None:
            c_BTC = self.gru(z_BTC)[0]
        loss = self._info_nce(c_BTC, z_BTC, draws) + kld_weight * kl
        return loss, z_BCT

    def _window(self, num_frames: int) -> int:
        return min(num_frames, self.objective.window_frames or num_frames)

    def _info_nce(self, c_BTC: Tensor, z_BTC: Tensor, draws: NaiveDraws) -> Tensor:
        B, T, C = z_BTC.shape
        W = self._window(T)
        window = slice(draws.start, draws.start + W)
        all_rows = z_BTC.reshape(B * T, C)
        negatives_BTCN = torch.stack([all_rows[rows] for rows in draws.rows], 2).view(B, T, C, -1)
        negatives_BWCN, z_BWC = negatives_BTCN[:, window], z_BTC[:, window]
        wide = self.predictor(c_BTC[:, window])
        steps = min(self.num_steps, W - 1)
        loss = z_BTC.new_zeros(())
        for k in range(1, steps + 1):
            prediction = wide[:, : W - k, (k - 1) * C : k * C].unsqueeze(2)
            positive = prediction @ z_BWC[:, k:].unsqueeze(3)
            negative = prediction @ negatives_BWCN[:, : W - k]
            scores = torch.cat([positive, negative], 3)
            loss = loss - torch.log_softmax(scores, 3)[..., 0].mean()
        return loss / steps

    @torch.no_grad()
    def copy_from(self, ours: GreedyModule) -> None:
        """Copy the weights of a module of `vgim.model`."""
        state = ours.state_dict()
        norms = 1 if any(isinstance(layer, nn.BatchNorm1d) for layer in self.layers) else 0
        for j in range(len(ours.spec.convs)):
            conv = self.layers[j * (2 + norms)]
            conv.weight.copy_(state[f"layers.conv{j}.weight"])
            conv.bias.copy_(state.get(f"layers.conv{j}.bias", torch.zeros_like(conv.bias)))
        if self.mu is not None and self.logvar is not None:
            for number, head in enumerate((self.mu, self.logvar)):
                head.weight.copy_(state["posterior.weight"].chunk(2)[number][..., None])
                head.bias.copy_(state["posterior.bias"].chunk(2)[number])
        if self.gru is not None and ours.gru is not None:
            self.gru.load_state_dict(ours.gru.state_dict())
        self.predictor.weight.copy_(state["nce.weight"].flatten(0, 1))


class NaiveEncoder(nn.Module):
    """Naive modules in order; each reads the detached latents of the module before."""

    def __init__(self, model: ModelConfig, objective: ObjectiveConfig) -> None:
        super().__init__()
        norm = model.batch_norm != "none"
        self.greedy = nn.ModuleList(
            NaiveModule(spec, objective, objective.steps_of_module(m), norm)
            for m, spec in enumerate(module_specs(model))
        )

    def forward(
        self, audio_BL: Tensor, kld_weight: float, draws: list[NaiveDraws] | None = None
    ) -> list[Tensor]:
        """Losses of all modules, each with its graph."""
        x_BCT = audio_BL[:, None]
        losses = []
        for m, module in enumerate(self.greedy):
            loss, z_BCT = module(x_BCT, draws[m] if draws else None, kld_weight)
            losses.append(loss)
            x_BCT = z_BCT.detach()
        return losses

    def copy_from(self, ours: Encoder) -> None:
        """Copy the weights of an encoder of `vgim.model`."""
        for m, module in enumerate(self.greedy):
            module.copy_from(ours.module(m))


class NaiveStep:
    """One optimizer step: forward through all modules, one backward over the sum of their losses, Adam."""

    def __init__(self, encoder: NaiveEncoder, learning_rate: float = 2e-4) -> None:
        self.encoder = encoder
        self.optimizer = torch.optim.Adam(encoder.parameters(), lr=learning_rate)

    def __call__(self, audio_BL: Tensor, kld_weight: float) -> list[Tensor]:
        losses = self.encoder(audio_BL, kld_weight)
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        self.optimizer.step()
        return [loss.detach() for loss in losses]


class Flops(NamedTuple):
    """FLOPs of one module on a batch."""

    train: int
    """Forward and backward."""
    encode: int
    """Forward to the latents, as in a frozen module."""


@cache
def count_flops(model: ModelConfig, objective: ObjectiveConfig, batch: int, samples: int) -> list[Flops]:
    """FLOPs of each naive module on a batch, counted on tensors without storage."""
    flops = []
    with torch.device("meta"):
        x_BCT = torch.empty(batch, 1, samples)
        for module in NaiveEncoder(model, objective).greedy:
            with FlopCounterMode(display=False) as training:
                loss, z_BCT = module(x_BCT, None, 0.001)
                loss.backward()
            with FlopCounterMode(display=False) as encoding, torch.no_grad():
                h_BCT = module.layers(x_BCT)
                for head in (module.mu, module.logvar):
                    if head is not None:
                        head(h_BCT)
            flops.append(Flops(training.get_total_flops(), encoding.get_total_flops()))
            x_BCT = z_BCT.detach()
    return flops


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--channels", type=int, default=512, help="channels of every convolution")
    options.add_argument("--batch", type=int, default=8, help="crops a step")
    options.add_argument("--samples", type=int, default=20_480, help="samples in a crop")
    args = options.parse_args(argv)
    start(args)
    results = {}
    for family in ("sim", "gim", "cpc"):
        model = ModelConfig(family=family, channels=args.channels)
        counted = count_flops(model, ObjectiveConfig(), args.batch, args.samples)
        results[family] = {"gflop_per_module": [flops.train / 1e9 for flops in counted]}
    print_table(
        ["family", "GFLOP of a step", "of each module"],
        [
            (family, sum(of["gflop_per_module"]), " ".join(f"{g:.1f}" for g in of["gflop_per_module"]))
            for family, of in results.items()
        ],
    )
    write_json(args.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
