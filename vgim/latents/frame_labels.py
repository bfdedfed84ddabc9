"""Labels of single frames: who speaks, which phone, which vowel, which syllable.

Shapes: T frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vgim.arrays import I64
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.syllable import SYLLABLES
from vgim.downstream.probes.vowel import VOWELS

NO_LABEL = -1
VOWEL_NAMES = "AA AE AH AO AW AX AXR AY EH ER EY IH IX IY OW OY UH UW UX a e i o u"
"""Of ARPAbet and of single letters; those that an inventory holds count."""


class Labeling(NamedTuple):
    """One way to label frames."""

    name: str
    classes: tuple[str, ...]


def labelings(manifest: Manifest) -> list[Labeling]:
    """Those that the shards have labels for: at least two classes each."""
    found = [Labeling("speaker", tuple(manifest.speakers))]
    if manifest.phone_inventory is not None:
        found.append(Labeling("phone", tuple(manifest.phone_inventory)))
        found.append(Labeling("vowel", tuple(p for p in manifest.phone_inventory if is_vowel(p))))
    elif has_syllables(manifest):
        found += [Labeling("syllable", SYLLABLES), Labeling("vowel", VOWELS)]
    return [labeling for labeling in found if len(labeling.classes) > 1]


def has_syllables(manifest: Manifest) -> bool:
    """Whether these are Artificial Speech's syllables."""
    return manifest.corpus == "artificial-speech" and manifest.options.get("part") == "syllables"


def is_vowel(phone: str) -> bool:
    """By its name, with or without a stress mark: AH, AH0."""
    return phone.rstrip("012") in VOWEL_NAMES.split()


def label_frames(
    labeling: Labeling, manifest: Manifest, utterance: Utterance, num_frames: int, hop_samples: int
) -> I64:
    """Class of each frame of a whole utterance, [T]; NO_LABEL where it has none."""
    if labeling.name == "speaker":
        return np.full(num_frames, labeling.classes.index(utterance.speaker_id))
    if manifest.phone_inventory is not None:
        phones_T = _phones(utterance, num_frames, hop_samples)
        if labeling.name == "phone":
            return phones_T
        vowel_of = [
            labeling.classes.index(phone) if phone in labeling.classes else NO_LABEL
            for phone in (*manifest.phone_inventory, "")
        ]  # the last is that of NO_LABEL
        return np.array(vowel_of)[phones_T]
    syllable = utterance.transcript
    name = syllable if labeling.name == "syllable" else syllable[-1:]
    label = labeling.classes.index(name) if name in labeling.classes else NO_LABEL
    return np.full(num_frames, label)


def _phones(utterance: Utterance, num_frames: int, hop_samples: int) -> I64:
    """The phone in whose 10 ms each frame begins; both end together, as in `vgim.downstream.probes.probe.align`."""
    if utterance.phones is None:
        return np.full(num_frames, NO_LABEL)
    slot_T = np.arange(num_frames) * hop_samples // HOP_SAMPLES
    whole = len(utterance.audio) // HOP_SAMPLES
    num_slots = min(int(slot_T[-1]) + 1 if num_frames else 0, whole)
    at_T = slot_T - max(0, num_slots - len(utterance.phones))
    labeled_T = (at_T >= 0) & (at_T < len(utterance.phones)) & (slot_T < whole)
    return np.where(labeled_T, utterance.phones[np.clip(at_T, 0, len(utterance.phones) - 1)], NO_LABEL)
