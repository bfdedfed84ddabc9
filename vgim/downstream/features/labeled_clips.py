"""What a supervised encoder learns from: clips of the train split with their labels, other ones each epoch.

They are streamed from the shards; `data.shuffle_window` utterances are in memory at a time, and mixed.

Shapes: B clips, L samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from vgim.config.schema import DataConfig
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import crop_starts, usable, utterance_keys
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.features import Clips
from vgim.downstream.probes.alignment import num_whole_labels
from vgim.model.randomness import mix

LONGER = 0.1
"""Whole utterances share a batch if their lengths differ by no more than about this part."""


def training_batches(setting: ProbeContext, *, min_samples: int, seed: int, epoch: int) -> Iterator[Clips]:
    """An epoch's batches of clips, each of one length, in an order of their own; a function of (seed, epoch).

    A frame task gives crops of `data.crop_samples` that together hold all of an utterance from a random phase on,
    with their labels; a task that looks at crops gives those of training (`data.crop`), the others whole utterances.

    Args:
        min_samples: Shorter clips are left out.
    """
    data, size = setting.opened.config.data, setting.opened.config.train.batch_size
    seed = mix("supervised", setting.opened.config.train.seed, seed)
    draw = np.random.default_rng([seed, epoch])
    limit = setting.options.max_utterances
    held: list[Utterance] = []
    for number, utterance in enumerate(
        read_utterances(setting.opened.shards, setting.opened.manifest, "train", limit), 1
    ):
        if setting.task.unit == "frame":
            found = labeled_crops(utterance, data, seed, epoch)
        elif setting.task.uses_crops and not setting.options.whole_utterances:
            found = crops(utterance, data, seed, epoch)
        else:
            found = [utterance]
        held += [clip for clip in found if len(clip.audio) >= min_samples]
        if number % data.shuffle_window == 0:
            yield from mixed(held, size, draw)
            held = []
    yield from mixed(held, size, draw)


def labeled_crops(utterance: Utterance, data: DataConfig, seed: int, epoch: int) -> list[Utterance]:
    """Crops that follow each other from a random phase on, with the labels of their 10 ms; none without labels.

    They begin where a label does. Where the audio has more whole 10 ms than labels, the first have none: so `align`
    pairs them for the whole utterance.
    """
    if utterance.phones is None:
        return []
    num_labels = min(len(utterance.phones), num_whole_labels(len(utterance.audio)))
    per_crop = data.crop_samples // HOP_SAMPLES
    tiles = data.model_copy(update={"crop": "tile", "crop_samples": per_crop * HOP_SAMPLES})
    unlabeled = num_whole_labels(len(utterance.audio)) - num_labels
    found = []
    for start in _starts(utterance, num_labels * HOP_SAMPLES, tiles, seed, epoch):
        label, sample = start // HOP_SAMPLES, start + unlabeled * HOP_SAMPLES
        audio = utterance.audio[sample : sample + per_crop * HOP_SAMPLES]
        found.append(replace(utterance, audio=audio, phones=utterance.phones[label : label + per_crop]))
    return found


def crops(utterance: Utterance, data: DataConfig, seed: int, epoch: int) -> list[Utterance]:
    """The crops that training cuts, without frame labels; none where the utterance is too short."""
    found = []
    for start in _starts(utterance, len(utterance.audio), data, seed, epoch):
        audio = utterance.audio[start : start + data.crop_samples]
        padded = np.pad(
            audio, (0, data.crop_samples - len(audio))
        )  # with crop=first an utterance may be shorter
        found.append(replace(utterance, audio=padded, phones=None))
    return found


def mixed(clips: Sequence[Utterance], size: int, draw: np.random.Generator) -> Iterator[Clips]:
    """Batches of `size` or slightly fewer clips of similar length, at random, each cut to its shortest."""
    if not clips:
        return
    lengths = np.array([len(clip.audio) for clip in clips]) * draw.uniform(1, 1 + LONGER, len(clips))
    batches = np.array_split(np.argsort(lengths), -(-len(clips) // size))  # no small last one: BatchNorm
    for number in draw.permutation(len(batches)):
        chosen = [clips[i] for i in batches[number]]
        num_samples = min(len(clip.audio) for clip in chosen)
        yield Clips(chosen, torch.from_numpy(np.stack([clip.audio[:num_samples] for clip in chosen])))


def _starts(utterance: Utterance, num_samples: int, data: DataConfig, seed: int, epoch: int) -> list[int]:
    lengths = np.array([num_samples], np.int64)
    if not usable(lengths, data)[0]:
        return []
    keys = utterance_keys([utterance.utterance_id])
    starts: list[int] = crop_starts(lengths, keys, data, seed, epoch)[1].tolist()
    return starts
