"""Training data of a supervised encoder: clips of the train split with their labels, cut anew each epoch.

Clips are streamed from the shards; `data.shuffle_window` utterances are in memory at a time and are shuffled.

Shapes: B clips, L samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch

from vgim.config.schema import DataConfig
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.shards.read import Utterance
from vgim.data.stream.crops import crop_starts, usable, utterance_keys
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.source import ClipBatch
from vgim.downstream.held_out import read_probe_utterances
from vgim.downstream.probes.alignment import num_whole_labels
from vgim.model.randomness import mix

LENGTH_SPREAD = 0.1
"""Lengths of whole utterances in a batch differ by about this share at most."""


def training_batches(
    context: ProbeContext, *, min_samples: int, seed: int, epoch: int
) -> Iterator[ClipBatch]:
    """Make an epoch's batches of clips, each of one length, in random order; a function of (seed, epoch).

    A probe of frames gets crops of `data.crop_samples` with their labels, which follow each other from a random
    phase on. A probe that looks at crops gets those of training (`data.crop`); any other gets whole utterances.

    Args:
        min_samples: Shorter clips are left out.
    """
    opened = context.opened
    data, size = opened.config.data, opened.config.train.batch_size
    seed = mix("supervised", opened.config.train.seed, seed)
    rng = np.random.default_rng([seed, epoch])
    utterances = read_probe_utterances(opened, "train", context.options.max_utterances)
    window: list[Utterance] = []
    for num_read, utterance in enumerate(utterances, 1):
        if context.task.unit != "utterance":
            clips = labeled_crops(utterance, data, seed, epoch)
        elif context.uses_crops:
            clips = crops(utterance, data, seed, epoch)
        else:
            clips = [utterance]
        window += [clip for clip in clips if len(clip.audio) >= min_samples]
        if num_read % data.shuffle_window == 0:
            yield from shuffled_batches(window, size, rng)
            window = []
    yield from shuffled_batches(window, size, rng)


def labeled_crops(utterance: Utterance, data: DataConfig, seed: int, epoch: int) -> list[Utterance]:
    """Cut crops that follow each other from a random phase on, with the labels of their 10 ms; none without labels.

    Crops begin where a label does. If the audio has more whole 10 ms than labels, its start has no label, as when
    `align` pairs a whole utterance with its labels.
    """
    if utterance.phones is None:
        return []
    num_labels = min(len(utterance.phones), num_whole_labels(len(utterance.audio)))
    per_crop = data.crop_samples // HOP_SAMPLES
    tiles = data.model_copy(update={"crop": "tile", "crop_samples": per_crop * HOP_SAMPLES})
    unlabeled = num_whole_labels(len(utterance.audio)) - num_labels
    labeled = []
    for start in _starts(utterance, num_labels * HOP_SAMPLES, tiles, seed, epoch):
        label, sample = start // HOP_SAMPLES, start + unlabeled * HOP_SAMPLES
        audio = utterance.audio[sample : sample + per_crop * HOP_SAMPLES]
        labeled.append(replace(utterance, audio=audio, phones=utterance.phones[label : label + per_crop]))
    return labeled


def crops(utterance: Utterance, data: DataConfig, seed: int, epoch: int) -> list[Utterance]:
    """Cut the crops that training cuts, without frame labels; none from an utterance that is too short."""
    cut = []
    for start in _starts(utterance, len(utterance.audio), data, seed, epoch):
        audio = utterance.audio[start : start + data.crop_samples]
        num_missing = data.crop_samples - len(
            audio
        )  # crop=first takes utterances that are shorter than a crop
        cut.append(replace(utterance, audio=np.pad(audio, (0, num_missing)), phones=None))
    return cut


def shuffled_batches(clips: Sequence[Utterance], size: int, rng: np.random.Generator) -> Iterator[ClipBatch]:
    """Batch `size` or slightly fewer clips of similar length, at random; a batch is cut to its shortest clip."""
    if not clips:
        return
    lengths = np.array([len(clip.audio) for clip in clips]) * rng.uniform(1, 1 + LENGTH_SPREAD, len(clips))
    batches = np.array_split(
        np.argsort(lengths), -(-len(clips) // size)
    )  # even sizes: BatchNorm suffers from a small last batch
    for index in rng.permutation(len(batches)):
        chosen = [clips[i] for i in batches[index]]
        num_samples = min(len(clip.audio) for clip in chosen)
        yield ClipBatch(chosen, torch.from_numpy(np.stack([clip.audio[:num_samples] for clip in chosen])))


def _starts(utterance: Utterance, num_samples: int, data: DataConfig, seed: int, epoch: int) -> list[int]:
    lengths = np.array([num_samples], np.int64)
    if not usable(lengths, data)[0]:
        return []
    keys = utterance_keys(pa.chunked_array([[utterance.utterance_id]]))
    starts: list[int] = crop_starts(lengths, keys, data, seed, epoch)[1].tolist()
    return starts
