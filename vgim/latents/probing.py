"""Linear probes of a module's latents, on bounded numbers of examples: the tasks, features and solver of `vgim probe`.

Shapes: N examples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

import torch

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.context import PROBES, ProbeContext
from vgim.downstream.features.examples import gather, whole
from vgim.downstream.features.features import EncoderFeatures, FeatureSource, Reading
from vgim.downstream.probes.probe import Examples
from vgim.downstream.result import ProbeOptions, Task
from vgim.errors import DataError
from vgim.latents.analysis import AnalysisInput
from vgim.latents.frame_labels import labelings
from vgim.model.randomness import mix, seeded_generator


def settings(look: AnalysisInput) -> Iterator[ProbeContext]:
    """The probes that the shards have labels for."""
    subject = look.subject
    for labeling in labelings(subject.manifest):
        task = cast("Task", labeling.name)
        options = ProbeOptions(
            task=task,
            module=look.module,
            bias=False,
            max_utterances=look.options.max_utterances,
            device=look.options.device,
        )
        try:
            probe = PROBES[task](subject.manifest)
        except DataError:  # vowels within phones are colored in maps, and are no task of their own
            continue
        yield ProbeContext(
            run=subject.run,
            config=subject.config,
            options=options,
            shards=subject.shards,
            manifest=subject.manifest,
            task=probe,
            readings=(Reading(look.module),),
            trained=subject.trained,
            corpus=subject.corpus,
            device=subject.device,
            notes=(),
        )


def encoder_features(look: AnalysisInput) -> EncoderFeatures:
    """The module's latents: μ in every module, or its output."""
    assert look.subject.trained is not None
    return EncoderFeatures(
        look.subject.trained.encoder,
        (Reading(look.module),),
        look.subject.config.data.normalize,
        look.subject.corpus,
    )


def clip_of(setting: ProbeContext, utterance: Utterance) -> Pcm16 | None:
    """What the probe looks at of an utterance: a crop, or all of it."""
    return first_crop(utterance.audio, setting.config.data) if setting.task.crops else whole(utterance)


def examples_of(look: AnalysisInput, setting: ProbeContext, source: FeatureSource, split: str) -> Examples:
    """Examples of a split's first utterances, drawn down to `max_frames`; on the CPU."""
    utterances = read_utterances(setting.shards, setting.manifest, split, look.options.max_utterances)
    (found,) = gather(source, setting.task, utterances, partial(clip_of, setting), split)
    num = len(found.y_N)
    if num <= look.options.max_frames:
        return Examples(found.x_NC, found.y_N)
    generator = seeded_generator("cpu", mix("examples", look.options.seed, split))
    rows = torch.randperm(num, generator=generator)[: look.options.max_frames]
    return Examples(found.x_NC[rows], found.y_N[rows])
