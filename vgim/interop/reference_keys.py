"""The public reference's names of an encoder's tensors, and the architecture that they and their shapes imply.

Tensors have one spelling here, without the file's prefix:

    fullmodel.0.encoder.encoder.1.0.weight          module 0, layer 1, convolution; BatchNorm is `.1.1.`
    fullmodel.0.encoder.encoder.2.weight            layer 2, a convolution with nothing behind it
    fullmodel.0.encoder.encoder_mu.weight           head of μ, 1×1; the head of log σ² is `encoder_var`
    fullmodel.0.loss.predictor.weight               K maps, stacked on the output axis
    fullmodel.3.autoregressor.gru.weight_ih_l0

Files in circulation differ: the prefix (`module.` of DataParallel, or a wrapper's), `layer 1` for `1`, `model` for
the inner `encoder` (Greedy InfoMax), and GRU cells without `_l0`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vgim.config.schema import Family
from vgim.errors import CheckpointError
from vgim.interop.reference_heads import HEADS, FamilyFound, Tensors, family_of, has_effect
from vgim.text import first_few

ROOT = "fullmodel"
_NUMBER = r"[0-9]{1,3}"
"""Number of a module or layer; no encoder has a thousand."""
_MODULE = re.compile(rf"^(?P<prefix>.*?){ROOT}\.(?P<module>{_NUMBER})\.(?P<rest>.+)$")
_LAYER = re.compile(
    rf"^encoder\.(?:encoder|model)\.(?:layer )?({_NUMBER})\.((?:{_NUMBER}\.\w+|weight|bias))$"
)
_HEAD = re.compile(r"^encoder\.encoder_(?:mu|var)\.(?:weight|bias)$")
_GRU = re.compile(r"^autoregressor\.gru\.((?:weight|bias)_[ih]h)(?:_l0)?$")
_PREDICTOR = "loss.predictor.weight"
_MATRIX = re.compile(r"(encoder_(mu|var)\.weight|gru\.weight_[ih]h_l0|predictor\.weight)$")
_CONV = re.compile(rf"^{ROOT}\.(\d+)\.encoder\.encoder\.(\d+)\.(0\.)?weight$")


@dataclass(frozen=True)
class Architecture:
    """The encoder's architecture as its tensors show it; strides and paddings are not in them."""

    family: Family | None
    """None if its heads do not tell a sim from a gim."""
    family_reason: str
    """Why, as the end of a sentence that begins with "because"."""
    channels: int
    kernels: tuple[int, ...]
    relus: tuple[bool, ...]
    """Whether BatchNorm and ReLU follow each convolution."""
    layers_per_module: tuple[int, ...]
    gru_units: int
    batch_norm: bool
    prediction_steps: int
    biases: bool
    """Whether a convolution before a BatchNorm has a bias that is not zero."""
    heads: bool
    """Whether a module has heads that make its latents differ from its last convolution's output."""


def normalize(tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors under the names of this module.

    Raises:
        CheckpointError: A name that no encoder of the reference has, a tensor of too few dimensions, or an empty one.
    """
    normalized: Tensors = {}
    unknown = []
    for key, tensor in tensors.items():
        name = _spell(key)
        if name is None or name in normalized:
            unknown.append(key)
        else:
            normalized[name] = tensor
    if unknown or not normalized:
        raise CheckpointError(
            f"it has tensors that no encoder of the reference has ({first_few(unknown)}); give the encoder's file, "
            "such as model_99.ckpt, not a classifier's, a decoder's or an optimizer's"
            if unknown
            else "it holds no tensor; give the encoder's file, such as model_99.ckpt"
        )
    for name, tensor in normalized.items():
        fewest = 2 if _MATRIX.search(name) else 0 if name.endswith("num_batches_tracked") else 1
        if tensor.ndim < fewest or not tensor.numel():
            raise CheckpointError(
                f"{name} has the shape {list(tensor.shape)}, which no encoder of the reference has; is the file whole?"
            )
    return normalized


def _spell(key: str) -> str | None:
    match = _MODULE.match(key)
    if match is None:
        return None
    rest = match["rest"]
    if layer := _LAYER.match(rest):
        rest = f"encoder.encoder.{layer[1]}.{layer[2]}"
    elif gru := _GRU.match(rest):
        rest = f"autoregressor.gru.{gru[1]}_l0"
    elif rest != _PREDICTOR and not _HEAD.match(rest):
        return None
    return f"{ROOT}.{int(match['module'])}.{rest}"


def read_architecture(tensors: Tensors) -> Architecture:
    """Infer family, sizes and options from names and shapes.

    Raises:
        CheckpointError: vgim does not have the architecture; the message says which part.
    """
    num_modules = 1 + max(int(name.split(".")[1]) for name in tensors)
    convs = [_convs(tensors, m) for m in range(num_modules)]
    grus = [tensors.get(f"{ROOT}.{m}.autoregressor.gru.weight_hh_l0") for m in range(num_modules)]
    last = num_modules - 1
    for m, (module_convs, gru) in enumerate(zip(convs, grus, strict=True)):
        if not module_convs and gru is None:
            raise CheckpointError(f"module {m} of its {num_modules} has neither convolutions nor a GRU")
        if gru is not None and (m != last or (module_convs and num_modules > 1)):
            raise CheckpointError(
                f"module {m} of its {num_modules} has a GRU; vgim knows one as the last module by itself, or in "
                "the only module (cpc)"
            )
    if not convs[0]:
        raise CheckpointError("its module 0 has no convolutions")
    channels = convs[0][0].weight.shape[0]
    heads = [_heads(tensors, m) for m in range(num_modules) if convs[m]]
    last_gru = grus[last]
    is_cpc = num_modules == 1 and last_gru is not None
    found = FamilyFound("cpc", "its only module has a GRU") if is_cpc else family_of(heads)
    return Architecture(
        family=found.family,
        family_reason=found.reason,
        channels=channels,
        kernels=tuple(conv.weight.shape[2] for of_module in convs for conv in of_module),
        relus=tuple(conv.relu for of_module in convs for conv in of_module),
        layers_per_module=tuple(len(of_module) for of_module in convs if of_module),
        gru_units=0 if last_gru is None else last_gru.shape[1],
        batch_norm=any(".1.running_mean" in name for name in tensors),
        prediction_steps=_prediction_steps(tensors, channels),
        biases=any(bool(bias.any()) for bias in _biases_before_norm(tensors)),
        heads=any(map(has_effect, heads)),
    )


class _Conv(NamedTuple):
    weight: Tensor
    relu: bool
    """The reference puts a convolution and its ReLU into a list of layers, as number 0; one without stands alone."""


def _convs(tensors: Tensors, module: int) -> list[_Conv]:
    """A module's convolutions in order."""
    matches = (_CONV.match(name) for name in tensors)
    layers = {int(m[2]): _Conv(tensors[m[0]], m[3] is not None) for m in matches if m and int(m[1]) == module}
    if sorted(layers) != list(range(len(layers))):
        raise CheckpointError(
            f"the layers of module {module} are numbered {sorted(layers)}: something without weights, such as "
            "pooling, stands between its convolutions, which vgim does not have"
        )
    for j, conv in sorted(layers.items()):
        if conv.weight.ndim != 3:
            raise CheckpointError(
                f"module {module}, layer {j}: the convolution's weight has {conv.weight.ndim} dimensions, not 3"
            )
    return [layers[j] for j in sorted(layers)]


def _heads(tensors: Tensors, module: int) -> Tensors:
    """The tensors of a module's heads that the file has."""
    named = {key: tensors.get(f"{ROOT}.{module}.encoder.encoder_{key}") for key in HEADS}
    return {key: tensor for key, tensor in named.items() if tensor is not None}


def _prediction_steps(tensors: Tensors, channels: int) -> int:
    rows = {name: len(tensor) for name, tensor in tensors.items() if name.endswith(_PREDICTOR)}
    if not rows:
        raise CheckpointError(
            f"no module has its {_PREDICTOR}; give the file of an encoder trained by InfoNCE"
        )
    if len(set(rows.values())) > 1 or next(iter(rows.values())) % channels:
        shown = first_few(f"{count} rows in {name}" for name, count in rows.items())
        raise CheckpointError(
            f"its predictors have {shown}; each should have K times the {channels} channels, with one K for all modules"
        )
    return next(iter(rows.values())) // channels


def _biases_before_norm(tensors: Tensors) -> list[Tensor]:
    names = (
        name.replace(".1.running_mean", ".0.bias") for name in tensors if name.endswith(".1.running_mean")
    )
    return [tensors[name] for name in names if name in tensors]
