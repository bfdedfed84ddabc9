"""Probes of a module's latents on a bounded number of examples, with the tasks and features of `vgim probe`.

Shapes: N examples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vgim.downstream.context import ProbeContext
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.examples import collect_examples
from vgim.downstream.features.source import FeatureSource
from vgim.downstream.held_out import read_probe_utterances
from vgim.downstream.options import ProbeOptions
from vgim.downstream.probes.probe import Examples
from vgim.downstream.probes.registry import learnable_probes
from vgim.latents.analysis import AnalysisInput
from vgim.model.randomness import mix, seeded_generator


def probe_contexts(inputs: AnalysisInput) -> Iterator[ProbeContext]:
    """Contexts of all probes that can be learned on the shards."""
    opened = inputs.opened
    for name, probe in learnable_probes(opened.manifest).items():
        options = ProbeOptions(
            task=name,
            module=inputs.module,
            bias=False,
            max_utterances=inputs.options.max_utterances,
            device=inputs.options.device,
        )
        yield ProbeContext(
            opened=opened,
            options=options,
            task=probe,
            outputs=(EncoderOutput(inputs.module),),
            notes=(),
        )


def encoder_features(inputs: AnalysisInput) -> EncoderFeatures:
    """The source of the module's latents: μ, or its output, with μ passed between modules."""
    trained = inputs.opened.encoder
    return EncoderFeatures(trained.encoder, trained.normalizer, (EncoderOutput(inputs.module),))


def examples_of(inputs: AnalysisInput, context: ProbeContext, source: FeatureSource, split: str) -> Examples:
    """Examples of a split's first utterances on the CPU, at most `max_frames`, drawn at random."""
    utterances = read_probe_utterances(context.opened, split, inputs.options.max_utterances)
    (examples,) = collect_examples(source, context.task, utterances, context.clip, split)
    num = len(examples.y_N)
    if num <= inputs.options.max_frames:
        return Examples(examples.x_NC, examples.y_N)
    generator = seeded_generator("cpu", mix("examples", inputs.options.seed, split))
    rows = torch.randperm(num, generator=generator)[: inputs.options.max_frames]
    return Examples(examples.x_NC[rows], examples.y_N[rows])
