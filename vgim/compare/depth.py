"""Rows that outputs of different encoders share: a greedy module, and the layer of cpc that corresponds to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from vgim.config import RunConfig
from vgim.config.schema import ModelConfig
from vgim.model.specs import module_specs


class Stage(NamedTuple):
    """The end of a greedy module."""

    hop: int
    """Samples between two frames."""
    gru: bool


def stages_of(model: ModelConfig) -> list[Stage]:
    """The ends of a greedy encoder's modules; of cpc, those of the greedy encoder with the same layers."""
    if model.family == "cpc":
        model = model.model_copy(update={"family": "gim"})
    hop, stages = 1, []
    for spec in module_specs(model):
        for conv in spec.convs:
            hop *= conv.stride
        stages.append(Stage(hop, spec.gru_units > 0))
    return stages


def common_stages(configs: Sequence[RunConfig]) -> list[Stage]:
    """The stages of the deepest greedy encoder, or of the first cpc where no encoder is greedy."""
    greedy = [config.model for config in configs if config.model.family != "cpc"]
    return max(map(stages_of, greedy), key=len) if greedy else stages_of(configs[0].model)


def outputs_by_stage(model: ModelConfig, stages: Sequence[Stage]) -> dict[tuple[int, int | None], int]:
    """Index of the stage that each output (module, layer) belongs to; other outputs are left out.

    A greedy module's output is its stage's. The layer of cpc for a stage is the last convolution with the stage's
    hop; where several of cpc's modules would have that hop, as `model.extra_modules` have, their last layers belong to
    the stages of that hop in order. The output of cpc is the GRU's stage.
    """
    if model.family != "cpc":
        return {(module, None): module for module in range(model.num_modules)}
    (spec,) = module_specs(model)
    hops = list(accumulate((conv.stride for conv in spec.convs), lambda hop, stride: hop * stride))
    ends = [end - 1 for end in accumulate(model.module_sizes)]
    outputs: dict[tuple[int, int | None], int] = {}
    for hop in dict.fromkeys(hops):
        layers = [layer for layer in ends if hops[layer] == hop]
        if len(layers) < 2:
            layers = [max(layer for layer in range(len(hops)) if hops[layer] == hop)]
        of_hop = [index for index, stage in enumerate(stages) if stage.hop == hop and not stage.gru]
        for layer, index in zip(layers, of_hop, strict=False):
            is_output = layer == len(hops) - 1 and not spec.gru_units
            outputs[0, None if is_output else layer] = index
    if spec.gru_units and (of_gru := [index for index, stage in enumerate(stages) if stage.gru]):
        outputs[0, None] = of_gru[-1]
    return outputs
