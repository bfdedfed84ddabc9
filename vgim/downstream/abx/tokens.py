"""Tokens of phones: stretches of 10 ms frames of one class, a bounded number for each speaker and phone.

Shapes: N frames of all utterances, U utterances, M tokens, T frames of the longest token, C channels.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vgim.arrays import I64

LONGEST_FRAMES = 50
"""Frames of the longest token; half a second of one phone is a pause or a wrong label."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of phones, sorted by speaker and phone."""

    first_M: I64
    """Index of the first frame of each."""
    length_M: I64
    """Its frames."""
    phone_M: I64
    speaker_M: I64

    def __len__(self) -> int:
        return len(self.first_M)

    def features(self, x_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of each token divided by their norm, [M, T, C] with zeros behind the last, and their numbers [M]."""
        length_M = torch.from_numpy(self.length_M)
        longest = int(length_M.max())
        frame_MT = torch.from_numpy(self.first_M)[:, None] + torch.arange(longest)
        inside_MT = torch.arange(longest) < length_M[:, None]
        x_MTC = x_NC[frame_MT.clamp(max=len(x_NC) - 1)].float()
        x_MTC = torch.nn.functional.normalize(x_MTC, dim=-1) * inside_MT[..., None]
        return x_MTC, length_M


def find_tokens(
    y_N: I64,
    owner_N: I64,
    speaker_U: I64,
    utterance_ids: Sequence[str],
    silences: Container[int],
    *,
    most: int,
) -> Tokens:
    """Cut utterances where their phone changes, and keep the phones between others.

    A stretch at an utterance's border is cut off, and silence is no phone.

    Args:
        y_N: Class of each 10 ms; the frames of an utterance follow each other.
        owner_N: Index of each frame's utterance.
        speaker_U: Speaker of each utterance.
        utterance_ids: Names of the utterances, [U], by which tokens are drawn.
        silences: Classes that are no phones.
        most: Tokens of a phone by a speaker at most; the names of their utterances decide which.
    """
    starts = np.flatnonzero(np.diff(y_N, prepend=-1) | np.diff(owner_N, prepend=-1))
    ends = np.append(starts[1:], len(y_N))
    owners = owner_N[starts]
    inner = np.zeros(len(starts), bool)
    inner[1:-1] = (owners[:-2] == owners[1:-1]) & (owners[1:-1] == owners[2:])
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in np.flatnonzero(inner & (ends - starts <= LONGEST_FRAMES)):
        phone = int(y_N[starts[index]])
        if phone not in silences:
            groups[int(speaker_U[owners[index]]), phone].append(int(index))
    first_of_owner = {int(owner): int(starts[index]) for index, owner in reversed(list(enumerate(owners)))}

    def drawn(index: int) -> bytes:
        owner = int(owners[index])
        place = int(starts[index]) - first_of_owner[owner]
        return hashlib.sha256(f"{utterance_ids[owner]} {place}".encode()).digest()

    kept = [
        (speaker, phone, index)
        for (speaker, phone), found in sorted(groups.items())
        for index in sorted(sorted(found, key=drawn)[:most])
    ]
    table = np.array(kept, dtype=np.int64).reshape(-1, 3)
    return Tokens(starts[table[:, 2]], (ends - starts)[table[:, 2]], table[:, 1], table[:, 0])
