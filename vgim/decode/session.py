"""A loaded decoder with the folder for its sounds: latents of audio, audio of latents, and sounds written.

Shapes: T frames, C channels, L samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vgim.data.pcm import Pcm16
from vgim.decode.mask import Mask
from vgim.decode.sound_files import (
    AUDIO,
    FOLDERS,
    SoundEntry,
    SoundKind,
    add_to_index,
    read_index,
    write_wav,
)
from vgim.model.audio import measure, to_float
from vgim.pretrained.decoder import FrozenDecoder, find_decoder, load_decoder
from vgim.progress import SILENT, Progress, track
from vgim.storage import Location
from vgim.text import plural


@dataclass(frozen=True)
class DecoderSession:
    """A loaded decoder, and the folder that its sounds are written to."""

    decoder: FrozenDecoder
    out: Location
    indexed: bool
    """Whether `out` is the decoder's own folder of sounds, which has subfolders and an index."""
    mask: Mask | None = None
    """Dimensions that are kept in everything that is decoded; None for all."""

    @torch.no_grad()
    def latents(self, samples: Pcm16) -> Tensor:
        """Latents [1, T, C] of an utterance, masked: the posterior's mean, or the output of another module."""
        latents_BTC: Tensor = self.decoder.encoder(samples, self.decoder.module, self.decoder.layer)
        return self.masked(latents_BTC)

    def masked(self, latents_BTC: Tensor) -> Tensor:
        """Latents [B, T, C] with 0 in the dimensions that the mask does not keep."""
        return latents_BTC if self.mask is None else self.mask.apply(latents_BTC)

    def kept_dimensions(self) -> list[int]:
        """Dimensions that the mask keeps, ascending."""
        return list(range(self.num_channels)) if self.mask is None else self.mask.kept(self.num_channels)

    @torch.no_grad()
    def audio(self, latents_BTC: Tensor, num_samples: int, like: Pcm16 | None = None) -> Tensor:
        """Decode latents [1, T, C] to audio [L], whose full scale is 1; it may be louder.

        Args:
            num_samples: Length of the audio.
            like: Utterance whose mean and deviation the audio gets back, if the decoder was trained on normalized
                utterances; None for those of the corpus.
        """
        audio_BL: Tensor = self.decoder(latents_BTC.to(self._device), num_samples)
        utterance = None if like is None else measure(to_float(torch.from_numpy(like)[None].to(self._device)))
        return self.decoder.normalizer.invert(audio_BL, utterance)[0]

    def reconstruct(self, samples: Pcm16) -> Tensor:
        """Encode and decode an utterance, [L]."""
        return self.audio(self.latents(samples), len(samples), samples)

    def write(
        self, sounds: Sequence[tuple[SoundEntry, Callable[[], Tensor]]], progress: Progress = SILENT
    ) -> list[Location]:
        """Decode sounds, each into the file that its entry names, as soon as it is decoded.

        The decoder's own folder has an index. A sound in it that the same weights made, by an earlier call, is kept.

        Args:
            sounds: Entries, and functions that decode their audio [L].
            progress: Where to report.

        Returns:
            The files of all sounds, in their order.
        """
        more = {
            "command": tuple(sys.argv),
            "mask": None if self.mask is None else self.mask.text,
            "weights": self.decoder.checkpoint.sha256_for_readers,
        }
        entries = [entry.model_copy(update=more) for entry, _ in sounds]
        known = {entry.file: entry for entry in read_index(self.out)} if self.indexed else {}
        kept = {
            entry.file
            for entry in entries
            if _is_same(entry, known.get(entry.file)) and self.out.child(entry.file).exists()
        }
        if kept:
            progress.message(
                f"{len(kept)} of {plural(len(sounds), 'sound')} were decoded earlier and are kept"
            )
        written: list[SoundEntry] = []
        both = zip(entries, (decode for _, decode in sounds), strict=True)
        missing = [(entry, decode) for entry, decode in both if entry.file not in kept]
        try:
            for entry, decode in track(progress, missing, "decoding", "sound"):
                write_wav(self.out.child(entry.file), decode())
                written.append(entry)
        finally:  # an interrupted call leaves what it has decoded to the next
            if self.indexed and written:
                add_to_index(self.out, written)
        return [self.out.child(entry.file) for entry in entries]

    def file_of(self, kind: SoundKind, name: str) -> str:
        """Path of a sound's file, relative to `out`; another mask makes another file."""
        name = name if self.mask is None else f"{name}-{self.mask.name}"
        return f"{FOLDERS[kind]}/{name}.wav" if self.indexed else f"{name}.wav"

    @property
    def num_channels(self) -> int:
        """Channels C of the latents."""
        return self.decoder.encoder.encoder.channels(self.decoder.module, self.decoder.layer)

    @property
    def _device(self) -> torch.device:
        return next(self.decoder.parameters()).device


def _is_same(entry: SoundEntry, known: SoundEntry | None) -> bool:
    """Whether an entry of the index describes the same sound, whatever command wrote it."""
    return known is not None and entry == known.model_copy(update={"command": entry.command})


def open_session(
    run: str,
    *,
    decoder: str | None = None,
    which: str = "last",
    out: str | None = None,
    mask: str | None = None,
) -> DecoderSession:
    """Load a decoder, and choose the folder for its sounds and the dimensions that are decoded.

    Args:
        run: A decoder's folder, or an encoder's run.
        decoder: Name of the run's decoder; may be left out if it has only one.
        which: Checkpoint of the decoder, `last` or `best`.
        out: Folder for the sounds; None for `audio` in the decoder's folder, which has an index.
        mask: Such as keep:0-31,40 or zero:3,17; see `vgim.decode.mask`.

    Raises:
        VgimError: There is no such decoder, it is damaged, or the mask does not fit its latents.
    """
    parsed = None if mask is None else Mask.parse(mask)
    folder = find_decoder(Location(run), decoder)
    loaded = load_decoder(folder.uri, which=which)
    path = folder.child(AUDIO) if out is None else Location(out)
    session = DecoderSession(loaded, path, out is None, parsed)
    session.kept_dimensions()  # refuse a mask of other dimensions before anything is read
    return session
