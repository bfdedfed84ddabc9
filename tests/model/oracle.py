"""The model again, slow and from the formulas: loops over crops, frames, steps and negatives, in fp64.

It shares no code with the model. Its inputs are a module's weights by name and fixed draws; its loss has a graph,
so that autograd computes gradients to compare. Shapes: B crops, T frames, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]
TIE_EPS = 64 * torch.finfo(torch.float64).eps
"""A negative ties with a positive of score s if the scores differ by at most TIE_EPS · (1 + |s|), as in the model. A
threshold of its own would judge some pairs differently by chance."""


def conv(x_BCT: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """y[b, o, t] = bias[o] + Σ_j Σ_i weight[o, i, j] · x[b, i, stride·t + j - padding], zero outside x."""
    length, kernel = x_BCT.shape[2], weight.shape[2]
    num_frames = (length + 2 * padding - kernel) // stride + 1
    frames = []
    for t in range(num_frames):
        total = torch.zeros(x_BCT.shape[0], weight.shape[0], dtype=x_BCT.dtype)
        for j in range(kernel):
            frame = stride * t + j - padding
            if 0 <= frame < length:
                total = total + x_BCT[:, :, frame] @ weight[:, :, j].T
        frames.append(total if bias is None else total + bias)
    return torch.stack(frames, 2)


def batch_norm(x_BCT: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) · weight + bias, per channel over crops and frames, biased variance."""
    channels = []
    for c in range(x_BCT.shape[1]):
        x = x_BCT[:, c]
        mean = x.sum() / x.numel()
        var = ((x - mean) ** 2).sum() / x.numel()
        channels.append((x - mean) / (var + eps) ** 0.5 * weight[c] + bias[c])
    return torch.stack(channels, 1)


def normalize_posterior(a_BTC: Tensor, b_BTC: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """σ² = 1/(1 + exp(-b)); μ = (a - mean) / sqrt(var + eps) · sqrt(1 - mean σ²), per channel over crops and frames."""
    mus, logvars = [], []
    for c in range(a_BTC.shape[2]):
        a, variance = a_BTC[..., c], 1 / (1 + torch.exp(-b_BTC[..., c]))
        mean, noise = a.sum() / a.numel(), variance.sum() / a.numel()
        var = ((a - mean) ** 2).sum() / a.numel()
        mus.append((a - mean) / (var + eps) ** 0.5 * (1 - noise) ** 0.5)
        logvars.append(torch.log(variance))
    return torch.stack(mus, 2), torch.stack(logvars, 2)


def gru(x_BTC: Tensor, w: Weights, end: str) -> Tensor:
    """r, u = gates; n = tanh(W x + r ⊙ (U h)); h' = (1 - u) n + u h, from h = 0 (Cho et al. 2014)."""
    units = w[f"gru.weight_hh_{end}"].shape[1]
    h = torch.zeros(x_BTC.shape[0], units, dtype=x_BTC.dtype)
    out = []
    for t in range(x_BTC.shape[1]):
        from_x = x_BTC[:, t] @ w[f"gru.weight_ih_{end}"].T + w[f"gru.bias_ih_{end}"]
        from_h = h @ w[f"gru.weight_hh_{end}"].T + w[f"gru.bias_hh_{end}"]
        rx, ux, nx = from_x.split(units, 1)
        rh, uh, nh = from_h.split(units, 1)
        r, u = 1 / (1 + torch.exp(-(rx + rh))), 1 / (1 + torch.exp(-(ux + uh)))
        h = (1 - u) * torch.tanh(nx + r * nh) + u * h
        out.append(h)
    return torch.stack(out, 1)


def layers(x: Tensor, w: Weights, strides: list[int], paddings: list[int], relus: list[bool]) -> Tensor:
    """Audio [B, L] or latents [B, T, C] → [B, T, C]; BatchNorm where there are weights for it."""
    h = x[:, None] if x.ndim == 2 else x.transpose(1, 2)
    for i, (stride, padding, relu) in enumerate(zip(strides, paddings, relus, strict=True)):
        h = conv(h, w[f"layers.conv{i}.weight"], w.get(f"layers.conv{i}.bias"), stride, padding)
        if f"layers.norm{i}.weight" in w:
            h = batch_norm(h, w[f"layers.norm{i}.weight"], w[f"layers.norm{i}.bias"])
        if relu:
            h = torch.where(h > 0, h, torch.zeros_like(h))
    return h.transpose(1, 2)


def info_nce(
    c_BWC: Tensor, z_BTC: Tensor, pool: Tensor, weight: Tensor, start: int, negatives: Tensor
) -> tuple[Tensor, float]:
    """-log(exp(s⁺) / (exp(s⁺) + Σ exp(s⁻))), mean over b and t for each k, then over k; and the accuracy."""
    num_crops, num_window = c_BWC.shape[:2]
    steps, shares = [], []
    for k in range(1, len(weight) + 1):
        losses, hits = [], []
        for b in range(num_crops):
            for t in range(num_window - k):
                prediction = weight[k - 1] @ c_BWC[b, t]
                positive = prediction @ z_BTC[b, start + t + k]
                rows = negatives[min(k - 1, len(negatives) - 1), b, t].tolist()
                others = torch.stack([prediction @ pool[row] for row in rows])
                everything = torch.exp(positive) + torch.exp(others).sum()
                losses.append(-torch.log(torch.exp(positive) / everything))
                tie = TIE_EPS * (1 + float(positive.detach().abs()))
                hits.append(all(float(positive.detach() - other.detach()) > tie for other in others))
        if losses:
            steps.append(sum(losses) / len(losses))
            shares.append(sum(hits) / len(hits))
    return sum(steps) / len(steps), sum(shares) / len(shares)


def kl(mu_BTC: Tensor, logvar_BTC: Tensor, reduction: str, free_bits: float) -> Tensor:
    """½(μ² + σ² - 1 - log σ²), averaged per channel, at least free_bits; times T for time_sum, times C for frame."""
    num_crops, num_frames, num_channels = mu_BTC.shape
    total = torch.zeros((), dtype=mu_BTC.dtype)
    for c in range(num_channels):
        channel = torch.zeros((), dtype=mu_BTC.dtype)
        for b in range(num_crops):
            for t in range(num_frames):
                mu, logvar = mu_BTC[b, t, c], logvar_BTC[b, t, c]
                channel = channel + 0.5 * (mu**2 + torch.exp(logvar) - 1 - logvar)
        channel = channel / (num_crops * num_frames)
        if float(channel.detach()) < free_bits:
            channel = torch.full((), free_bits, dtype=mu_BTC.dtype)
        total = total + channel
    mean = total / num_channels
    return mean * {"time_sum": num_frames, "mean": 1, "frame": num_channels}[reduction]
