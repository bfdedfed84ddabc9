"""An encoder's weights under the public reference's names, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vgim.errors import CheckpointError
from vgim.interop.reference_heads import HEADS, Tensors, matrix, no_head
from vgim.interop.reference_keys import ROOT
from vgim.model.stack import Encoder
from vgim.text import first_few


def to_reference(encoder: Encoder) -> Tensors:
    """An encoder's tensors under the reference's names, without the prefix.

    The reference has biases before BatchNorm, and heads in every family. Where vgim's encoder has none, biases are
    zero and heads are the identity; the head of log σ² is zero beside a linear head.
    """
    ours = encoder.state_dict()
    theirs: Tensors = {}
    for m in range(len(encoder)):
        spec = encoder.module(m).spec
        for j in range(len(spec.convs)):
            ours_conv, theirs_conv = f"greedy.{m}.layers.conv{j}.", _conv(encoder, m, j)
            theirs[theirs_conv + "weight"] = ours[ours_conv + "weight"]
            theirs[theirs_conv + "bias"] = ours.get(ours_conv + "bias", torch.zeros(spec.channels))
            norm = f"greedy.{m}.layers.norm{j}."
            theirs |= {f"{_norm(m, j)}{key[len(norm) :]}": ours[key] for key in ours if key.startswith(norm)}
        if spec.convs:
            theirs |= {
                f"{ROOT}.{m}.encoder.encoder_{key}": head for key, head in _heads(ours, m, spec.channels)
            }
        gru = f"greedy.{m}.gru."
        theirs |= {
            f"{ROOT}.{m}.autoregressor.gru.{key[len(gru) :]}": ours[key]
            for key in ours
            if key.startswith(gru)
        }
        theirs[f"{ROOT}.{m}.loss.predictor.weight"] = ours[f"greedy.{m}.nce.weight"].flatten(0, 1)
    return {name: tensor.clone() for name, tensor in theirs.items()}


def _conv(encoder: Encoder, module: int, layer: int) -> str:
    """The reference's name of a convolution, up to `weight`; without a ReLU behind it, it stands alone."""
    inner = "0." if encoder.module(module).layers.relus[layer] else ""
    return f"{ROOT}.{module}.encoder.encoder.{layer}.{inner}"


def _norm(module: int, layer: int) -> str:
    """The reference's name of a convolution's BatchNorm, up to `weight`."""
    return f"{ROOT}.{module}.encoder.encoder.{layer}.1."


def _heads(ours: Mapping[str, Tensor], module: int, channels: int) -> list[tuple[str, Tensor]]:
    """The 1×1 convolutions of μ and log σ², by name."""
    weight = ours.get(f"greedy.{module}.posterior.weight")
    heads = no_head(channels)
    if weight is not None:
        bias = ours[f"greedy.{module}.posterior.bias"]
        heads = dict(
            zip(HEADS, (weight[:channels], bias[:channels], weight[channels:], bias[channels:]), strict=True)
        )
    elif f"greedy.{module}.head.weight" in ours:
        heads |= {f"mu.{part}": ours[f"greedy.{module}.head.{part}"] for part in ("weight", "bias")}
    return [(key, head[..., None] if key.endswith("weight") else head) for key, head in heads.items()]


def put_reference(encoder: Encoder, tensors: Tensors) -> None:
    """Load the reference's tensors, named as `normalize` names them, into an encoder.

    A bias before a BatchNorm moves into the running mean: x + b - mean = x - (mean - b). A head of μ in a cpc
    without a head moves into what reads it, see `_fold_head`.

    Raises:
        CheckpointError: Tensors are missing, left over, or of another shape; they are named.
    """
    expected = to_reference(encoder)
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    optional |= {
        name.replace(".1.running_mean", ".0.bias") for name in expected if name.endswith(".1.running_mean")
    }
    if encoder.model.family != "sim":
        optional |= {name for name in expected if ".encoder_var." in name}
        if encoder.model.head == "none":
            optional |= {name for name in expected if ".encoder_mu." in name}
    missing = expected.keys() - tensors.keys() - optional
    left_over = tensors.keys() - expected.keys()
    if missing or left_over:
        parts = [f"lacks {first_few(sorted(missing))}"] if missing else []
        parts += (
            [f"has {first_few(sorted(left_over))}, which the config's encoder has not"] if left_over else []
        )
        raise CheckpointError(f"the file {' and '.join(parts)}; is it whole, and of this architecture?")
    wrong = [
        f"{name} is {list(tensor.shape)} where {list(expected[name].shape)} is expected"
        for name, tensor in tensors.items()
        if matrix(tensor).shape != matrix(expected[name]).shape
    ]
    if wrong:
        raise CheckpointError(f"{first_few(wrong)}; all widths must be those of module 0, layer 0")
    full = {name: matrix(tensors.get(name, default)).double() for name, default in expected.items()}
    if encoder.model.family == "cpc" and encoder.model.head == "none":
        _fold_head(full)
    ours: Tensors = {}
    for name in encoder.state_dict():
        _, m, part, *rest = name.split(".")
        if part == "layers":
            kind, j = rest[0][:4], int(rest[0][4:])
            conv = _conv(encoder, int(m), j)
            value = full[(conv if kind == "conv" else _norm(int(m), j)) + rest[1]]
            if rest[1] == "running_mean":
                value = value - full[conv + "bias"]
        elif part == "posterior":
            value = torch.cat([full[f"{ROOT}.{m}.encoder.encoder_{key}.{rest[0]}"] for key in ("mu", "var")])
        elif part == "head":
            value = full[f"{ROOT}.{m}.encoder.encoder_mu.{rest[0]}"]
        elif part == "gru":
            value = full[f"{ROOT}.{m}.autoregressor.gru.{rest[0]}"]
        else:
            predictor = full[f"{ROOT}.{m}.loss.predictor.weight"]
            value = predictor.view(encoder.module(int(m)).nce.weight.shape)
        ours[name] = value
    encoder.load_state_dict(
        {name: value.reshape(encoder.state_dict()[name].shape) for name, value in ours.items()}
    )


def _fold_head(full: Tensors) -> None:
    """Move cpc's head z = W h + b into the GRU that reads z and into the predictors that are compared with it.

    GRU: U z + d = (U W) h + (U b + d). Scores: p · z = (Wᵀ p) · h + p · b, whose last term is the same for the
    positive and all negatives, and cancels in the cross-entropy. So contexts and losses stay what they were.
    """
    head, bias = full[f"{ROOT}.0.encoder.encoder_mu.weight"], full[f"{ROOT}.0.encoder.encoder_mu.bias"]
    gru, predictor = f"{ROOT}.0.autoregressor.gru.", f"{ROOT}.0.loss.predictor.weight"
    full[gru + "bias_ih_l0"] = full[gru + "bias_ih_l0"] + full[gru + "weight_ih_l0"] @ bias
    full[gru + "weight_ih_l0"] = full[gru + "weight_ih_l0"] @ head
    maps_KCU = full[predictor].view(-1, len(head), full[predictor].shape[1])
    full[predictor] = (head.T @ maps_KCU).flatten(0, 1)
