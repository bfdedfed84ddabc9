"""What a trained decoder lets one hear: files, draws from N(0, I), ways between utterances, single dimensions.

Shapes: T frames, C channels, L samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from torch import Tensor

from vgim.data.pcm import PCM16_SCALE, Pcm16
from vgim.data.shards.manifest import check_shards_present, read_manifest
from vgim.data.shards.read import read_utterances
from vgim.decode.audio import AUDIO, FOLDERS, AudioEntry, SoundKind, add_to_index, read_audio, write_wav
from vgim.errors import ConfigError
from vgim.model.audio import measure, to_float
from vgim.model.randomness import mix, seeded_generator
from vgim.pretrained.decoder import FrozenDecoder, find_decoder, load_decoder
from vgim.storage import Location

LEFT_UTTERANCES, LEFT_DRAWS, LONGEST_SAMPLES = 4, 4, 80_000


@dataclass(frozen=True)
class DecoderSession:
    """A decoder, and where its sounds go."""

    decoder: FrozenDecoder
    out: Location
    indexed: bool
    """Whether `out` is the decoder's own folder of sounds, which has an index."""

    @torch.no_grad()
    def latents(self, samples: Pcm16) -> Tensor:
        """Latents [1, T, C] of an utterance, their mean where they have a distribution."""
        latents_BTC: Tensor = self.decoder.encoder(samples, self.decoder.module, self.decoder.layer)
        return latents_BTC

    @torch.no_grad()
    def audio(self, latents_BTC: Tensor, num_samples: int, like: Pcm16 | None = None) -> Tensor:
        """Audio [L] of latents [1, T, C] in [-1, 1] or beyond, at the level of the utterance `like`, or the corpus."""
        audio_BL: Tensor = self.decoder(latents_BTC.to(self._device), num_samples)
        utterance = None if like is None else measure(to_float(torch.from_numpy(like)[None].to(self._device)))
        return self.decoder.normalizer.invert(audio_BL, utterance)[0]

    def reconstruct(self, samples: Pcm16) -> Tensor:
        """An utterance through encoder and decoder, [L]."""
        return self.audio(self.latents(samples), len(samples), samples)

    def add(self, group: SoundKind, sounds: Sequence[tuple[AudioEntry, Tensor]]) -> list[Location]:
        """Write sounds, whose entries name their files, and note them in the index."""
        places = []
        for entry, audio_L in sounds:
            places.append(self.out.child(entry.file))
            write_wav(places[-1], audio_L)
        if self.indexed:
            command = tuple(sys.argv)
            add_to_index(self.out, [entry.model_copy(update={"command": command}) for entry, _ in sounds])
        return places

    def file(self, group: SoundKind, name: str) -> str:
        """Where a sound goes, relative to `out`."""
        return f"{FOLDERS[group]}/{name}.wav" if self.indexed else f"{name}.wav"

    @property
    def _device(self) -> torch.device:
        return next(self.decoder.parameters()).device


def open_session(
    run: str, *, decoder: str | None = None, which: str = "last", out: str | None = None
) -> DecoderSession:
    """Load a decoder; `run` is its folder, or the encoder's run, whose only or named decoder it is.

    Raises:
        VgimError: There is no such decoder; its shards are gone where audio is normalized by them.
    """
    folder = find_decoder(Location(run), decoder)
    loaded = load_decoder(folder.uri, which=which)
    path = folder.child(AUDIO) if out is None else Location(out)
    return DecoderSession(loaded, path, out is None)


def sample(session: DecoderSession, count: int, seed: int = 0) -> list[Location]:
    """Draws z ~ N(0, I) for every frame, decoded; each as long as a training crop."""
    num_samples = session.decoder.config.data.crop_samples
    shape = (1, session.decoder.decoder.num_frames(num_samples), _channels(session))
    sounds = []
    for i in range(count):
        z_BTC = torch.randn(shape, generator=seeded_generator("cpu", mix("draw", seed, i)))
        name = f"seed{seed}-{i}"
        entry = AudioEntry(
            file=session.file("sample", name), group="sample", title=f"draw {i} of seed {seed}"
        )
        sounds.append((entry, session.audio(z_BTC, num_samples)))
    return session.add("sample", sounds)


def interpolate(session: DecoderSession, first: str, second: str, steps: int) -> list[Location]:
    """On the straight line from A's latents to B's; the longer utterance is cut to the shorter."""
    a, b = read_audio(first), read_audio(second)
    num_samples = min(len(a), len(b))
    a, b = a[:num_samples], b[:num_samples]
    from_BTC, to_BTC = session.latents(a), session.latents(b)
    names = f"{_stem(first)} to {_stem(second)}"
    sounds = []
    for i in range(steps):
        share = i / (steps - 1)
        name = f"{_stem(first)}-{_stem(second)}-{i:02d}"
        entry = AudioEntry(
            file=session.file("interpolation", name), group="interpolation", title=names, value=share
        )
        sounds.append((entry, session.audio(torch.lerp(from_BTC, to_BTC, share), num_samples, a)))
    return session.add("interpolation", sounds)


def traverse(
    session: DecoderSession, file: str, dims: Sequence[int], bounds: tuple[float, float], steps: int
) -> list[Location]:
    """An utterance, one dimension of whose latents has the same value in every frame.

    Raises:
        ConfigError: There is no such dimension.
    """
    samples = read_audio(file)
    latents_BTC = session.latents(samples)
    num = latents_BTC.shape[2]
    for dim in dims:
        if not 0 <= dim < num:
            raise ConfigError(f"--dims {dim}, but the latents have {num} dimensions; use 0 to {num - 1}")
    sounds = []
    for dim in dims:
        for i in range(steps):
            value = bounds[0] + (bounds[1] - bounds[0]) * i / (steps - 1)
            moved_BTC = latents_BTC.clone()
            moved_BTC[..., dim] = value
            name = f"{_stem(file)}-dim{dim}-{i:02d}"
            entry = AudioEntry(
                file=session.file("traversal", name),
                group="traversal",
                title=_stem(file),
                value=value,
                dimension=dim,
            )
            sounds.append((entry, session.audio(moved_BTC, len(samples), samples)))
    return session.add("traversal", sounds)


def reconstruct_split(session: DecoderSession, split: str, count: int) -> list[Location]:
    """The first utterances of a split, at most five seconds of each, beside what the decoder makes of them."""
    shards = Location(session.decoder.config.data.shards)
    manifest = read_manifest(shards)
    if not manifest.split(split).utterances:
        return []
    check_shards_present(shards, manifest)
    sounds = []
    shortest = session.decoder.encoder.encoder.min_samples(session.decoder.module, session.decoder.layer)
    for utterance in read_utterances(shards, manifest, split, count):
        samples = utterance.audio[:LONGEST_SAMPLES]
        if len(samples) < shortest:
            continue
        original = session.file("reconstruction", f"{utterance.utterance_id}-original")
        write_wav(session.out.child(original), torch.from_numpy(samples) / PCM16_SCALE)
        entry = AudioEntry(
            file=session.file("reconstruction", utterance.utterance_id),
            group="reconstruction",
            title=utterance.utterance_id,
            original=original,
        )
        sounds.append((entry, session.reconstruct(samples)))
    return session.add("reconstruction", sounds)


def leave_audio(folder: Location, say: Callable[[str], None]) -> None:
    """What is there to hear when training ends: some validation utterances and draws."""
    session = open_session(folder.uri)
    places = [*reconstruct_split(session, "validation", LEFT_UTTERANCES), *sample(session, LEFT_DRAWS)]
    say(f"{len(places)} sounds in {session.out.uri}")


def _channels(session: DecoderSession) -> int:
    decoder = session.decoder
    return decoder.encoder.encoder.channels(decoder.module, decoder.layer)


def _stem(file: str) -> str:
    return PurePosixPath(Location(file).name).stem
