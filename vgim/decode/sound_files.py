"""Sound files that are written, and `audio/index.json`, which lists the sounds in a decoder's folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError
from torch import Tensor

from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ
from vgim.errors import StorageError
from vgim.storage import Location

AUDIO, INDEX = "audio", "index.json"

SoundKind = Literal["reconstruction", "sample", "interpolation", "traversal"]
FOLDERS: dict[SoundKind, str] = {
    "reconstruction": "reconstructions",
    "sample": "samples",
    "interpolation": "interpolations",
    "traversal": "traversals",
}


class SoundEntry(BaseModel):
    """A sound in the index. File names are relative to the folder of the index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    group: SoundKind
    title: str
    original: str | None = None
    """File of the audio that is reconstructed."""
    value: float | None = None
    """Share of the way from A to B in an interpolation; value of the dimension in a traversal."""
    dimension: int | None = None
    """Dimension that a traversal sets."""
    sources: tuple[str, ...] = ()
    """Files whose latents are decoded, of an interpolation and a traversal."""
    moved: tuple[int, ...] | None = None
    """Dimensions that move from A to B in an interpolation, the most different first; None for all."""
    mask: str | None = None
    """Which dimensions were kept in what was decoded, as `--mask` spells it; None for all."""
    weights: str = ""
    """SHA-256 of the decoder's weights; empty in indexes that an earlier vgim wrote."""
    command: tuple[str, ...] = ()
    """Command that wrote the sound, as a list of arguments."""


class SoundIndex(RootModel[tuple[SoundEntry, ...]]):
    """The contents of `audio/index.json`."""


def read_index(folder: Location) -> tuple[SoundEntry, ...]:
    """Entries of the index in `folder`; none if there is no index.

    Raises:
        StorageError: The index is damaged.
    """
    path = folder.child(INDEX)
    if not path.exists():
        return ()
    try:
        return SoundIndex.model_validate_json(path.read_bytes()).root
    except ValidationError as error:
        raise StorageError(
            f"{path.uri} is not an index of sounds ({error.errors()[0]['msg']}); delete it and decode again"
        ) from error


def add_to_index(folder: Location, entries: Sequence[SoundEntry]) -> None:
    """Add entries of written sounds to the index in `folder`, replacing entries of the same files."""
    known = {entry.file: entry for entry in read_index(folder)}
    index = SoundIndex(tuple((known | {entry.file: entry for entry in entries}).values()))
    folder.child(INDEX).write_bytes_atomic((index.model_dump_json(indent=1) + "\n").encode())


def write_wav(path: Location, audio_L: Tensor) -> None:
    """Write float audio [L], whose full scale is 1, as 16 kHz PCM16; louder audio is scaled down instead of clipped."""
    path.write_bytes_atomic(wav_bytes(audio_L))


def wav_bytes(audio_L: Tensor) -> bytes:
    """A 16 kHz PCM16 WAV file of float audio [L], whose full scale is 1; louder audio is scaled down, not clipped."""
    samples = audio_L.detach().double().cpu().numpy()
    samples = samples / max(1.0, np.abs(samples).max(initial=0.0) * PCM16_SCALE / (PCM16_SCALE - 1))
    pcm = np.rint(samples * PCM16_SCALE).clip(-PCM16_SCALE, PCM16_SCALE - 1).astype(np.int16)
    out = io.BytesIO()
    soundfile.write(out, pcm, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return out.getvalue()
