"""Labels of single frames: those of every probe that the shards have labels for, and the vowels among phones.

Shapes: T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vgim.arrays import I64
from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.alignment import NO_LABEL as NO_LABEL
from vgim.downstream.probes.probe import Probe
from vgim.downstream.probes.registry import available_probes

VOWEL_NAMES = "AA AE AH AO AW AX AXR AY EH ER EY IH IX IY OW OY UH UW UX a e i o u"
"""Vowels of ARPAbet, and single letters, in phone inventories."""
LabelFrames = Callable[[Utterance, int, int], I64]
"""Class of each frame, [T], of an utterance, the number of its frames and their hop in samples; NO_LABEL for none."""


class Labeling(NamedTuple):
    """Name and classes of one way to label frames."""

    name: str
    classes: tuple[str, ...]


def labelings(manifest: Manifest) -> dict[Labeling, LabelFrames]:
    """The ways to label the shards' frames with at least two classes, in the order of the probes' registry."""
    probes = available_probes(manifest)
    found: dict[Labeling, LabelFrames] = {
        Labeling(name, probe.classes): probe.frame_labels for name, probe in probes.items()
    }
    phones = probes.get("phone")
    if phones is not None and "vowel" not in probes:
        vowels = tuple(phone for phone in phones.classes if is_vowel(phone))
        found[Labeling("vowel", vowels)] = _vowels_among_phones(phones, vowels)
    return {labeling: label for labeling, label in found.items() if len(labeling.classes) > 1}


def shared_label(labels_T: I64) -> int:
    """The class of all labeled frames of an utterance; NO_LABEL where they differ or none has a label."""
    present = np.unique(labels_T[labels_T != NO_LABEL])
    return int(present[0]) if len(present) == 1 else NO_LABEL


def is_vowel(phone: str) -> bool:
    """Whether a phone is a vowel by its name, with or without a stress mark: AH, AH0."""
    return phone.rstrip("012") in VOWEL_NAMES.split()


def _vowels_among_phones(probe: Probe, vowels: tuple[str, ...]) -> LabelFrames:
    """Labels frames with the vowel that the phone probe's label is."""
    vowel_of = [vowels.index(phone) if phone in vowels else NO_LABEL for phone in probe.classes]
    vowel_of.append(NO_LABEL)  # index -1: frames without a phone

    def label(utterance: Utterance, num_frames: int, hop_samples: int) -> I64:
        return np.array(vowel_of)[probe.frame_labels(utterance, num_frames, hop_samples)]

    return label
