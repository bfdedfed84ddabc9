"""Sounds of a trained decoder: reconstructions, draws from N(0, I), interpolations and traversals of one dimension.

Shapes: T frames, C channels, L samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

import torch
from torch import Tensor

from vgim.data.pcm import PCM16_SCALE, Pcm16
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_utterances
from vgim.data.sound_file import read_sound
from vgim.decode.dimensions import interpolate_dimensions, most_different, set_dimensions
from vgim.decode.session import DecoderSession, open_session
from vgim.decode.sound_files import SoundEntry, write_wav
from vgim.errors import ConfigError
from vgim.model.randomness import mix, seeded_generator
from vgim.progress import SILENT, Progress
from vgim.storage import Location

NUM_FIRST_UTTERANCES, NUM_FIRST_DRAWS = 4, 4
"""Sounds that are written when training ends."""
MOST_SAMPLES = 80_000
"""Longest reconstruction of an utterance: five seconds."""


def sample(session: DecoderSession, count: int, seed: int = 0, progress: Progress = SILENT) -> list[Location]:
    """Decode `count` draws of z ~ N(0, I) in every frame, each as long as a training crop; return the files."""
    num_samples = session.decoder.config.data.crop_samples
    shape = (1, session.decoder.decoder.num_frames(num_samples), session.num_channels)

    def decode(i: int) -> Tensor:
        z_BTC = torch.randn(shape, generator=seeded_generator("cpu", mix("draw", seed, i)))
        return session.audio(session.masked(z_BTC), num_samples)

    sounds = []
    for i in range(count):
        name = f"seed{seed}-{i}"
        entry = SoundEntry(
            file=session.file_of("sample", name), group="sample", title=f"draw {i} of seed {seed}"
        )
        sounds.append((entry, partial(decode, i)))
    return session.write(sounds, progress)


def interpolate(
    session: DecoderSession,
    first: str,
    second: str,
    steps: int,
    num_dims: int | None = None,
    progress: Progress = SILENT,
) -> list[Location]:
    """Decode `steps` points on the straight line from the latents of one file to those of another; return the files.

    The longer utterance is cut to the length of the shorter.

    Args:
        num_dims: Only so many dimensions move, those in which the two differ most, and the others stay the first
            file's; None for all. This is the act of the public reference's demo.
        progress: Where to report, such as which dimensions move, or how a file was resampled.

    Raises:
        ConfigError: The latents have fewer dimensions, or the mask keeps fewer.
    """
    kept = session.kept_dimensions()
    if num_dims is not None and not 1 <= num_dims <= len(kept):
        of = "the latents have" if session.mask is None else f"--mask {session.mask.text} keeps"
        raise ConfigError(f"--dims {num_dims}, but {of} {len(kept)} dimensions; use 1 to {len(kept)}")
    a, b = read_sound(first, progress.message), read_sound(second, progress.message)
    stem, moved = f"{_stem(first)}-{_stem(second)}-{_hash(a, b)}", None
    num_samples = min(len(a), len(b))
    a, b = a[:num_samples], b[:num_samples]
    a_BTC, b_BTC = session.latents(a), session.latents(b)
    title = f"{_stem(first)} to {_stem(second)}"
    if num_dims is not None:
        moved = most_different(a_BTC[0], b_BTC[0])[:num_dims].tolist()
        title, stem = f"{title}, the {num_dims} most different dimensions", f"{stem}-dims{num_dims}"
        progress.message(
            f"{num_dims} of {session.num_channels} dimensions move: {', '.join(map(str, moved))}"
        )

    def decode(share: float) -> Tensor:
        return session.audio(interpolate_dimensions(a_BTC, b_BTC, share, moved), num_samples, a)

    sounds = []
    for i in range(steps):
        share = i / (steps - 1)
        entry = SoundEntry(
            file=session.file_of("interpolation", f"{stem}-{i:02d}"),
            group="interpolation",
            title=title,
            value=share,
            sources=(first, second),
            moved=moved,
        )
        sounds.append((entry, partial(decode, share)))
    return session.write(sounds, progress)


def traverse(
    session: DecoderSession,
    file: str,
    dims: Sequence[int],
    bounds: tuple[float, float],
    steps: int,
    progress: Progress = SILENT,
) -> list[Location]:
    """Decode an utterance with one dimension of its latents set to one value in all frames; return the files.

    Args:
        dims: Dimensions, one after another.
        bounds: First and last value.
        steps: Values of each dimension, evenly spaced.
        progress: Where to report, such as how the file was resampled.

    Raises:
        ConfigError: The latents have no such dimension, or the mask does not keep it.
    """
    num, kept = session.num_channels, session.kept_dimensions()
    for dim in dims:
        if not 0 <= dim < num:
            raise ConfigError(f"--dims {dim}, but the latents have {num} dimensions; use 0 to {num - 1}")
        if session.mask is not None and dim not in kept:
            raise ConfigError(
                f"--dims {dim}, but --mask {session.mask.text} sets that dimension to 0; keep it, or name another"
            )
    values = [bounds[0] + (bounds[1] - bounds[0]) * i / (steps - 1) for i in range(steps)]
    samples = read_sound(file, progress.message)
    latents_BTC = session.latents(samples)
    stem = f"{_stem(file)}-{_hash(samples)}"
    progress.message(
        f"values of each dimension, in the order of its files: {', '.join(f'{value:g}' for value in values)}"
    )

    def decode(dim: int, value: float) -> Tensor:
        return session.audio(set_dimensions(latents_BTC, {dim: value}), len(samples), samples)

    sounds = []
    for dim in dims:
        for i, value in enumerate(values):
            name = f"{stem}-dim{dim}-{i:02d}"
            entry = SoundEntry(
                file=session.file_of("traversal", name),
                group="traversal",
                title=_stem(file),
                value=value,
                dimension=dim,
                sources=(file,),
            )
            sounds.append((entry, partial(decode, dim, value)))
    return session.write(sounds, progress)


def reconstruct_split(
    session: DecoderSession, split: str, count: int, progress: Progress = SILENT
) -> list[Location]:
    """Write the first utterances of a split, at most five seconds of each, and their reconstructions.

    Returns:
        Files of the reconstructions; utterances that are too short for a frame have none.
    """
    shards = Location(session.decoder.config.data.shards)
    manifest = read_manifest(shards)
    if not manifest.split(split).utterances:
        return []
    check_shards_present(shards, manifest)
    sounds = []
    shortest = session.decoder.encoder.encoder.min_samples(session.decoder.module, session.decoder.layer)
    for utterance in read_utterances(shards, manifest, split, count):
        samples = utterance.audio[:MOST_SAMPLES]
        if len(samples) < shortest:
            continue
        original = session.file_of("reconstruction", f"{utterance.utterance_id}-original")
        write_wav(session.out.child(original), torch.from_numpy(samples) / PCM16_SCALE)
        entry = SoundEntry(
            file=session.file_of("reconstruction", utterance.utterance_id),
            group="reconstruction",
            title=utterance.utterance_id,
            original=original,
        )
        sounds.append((entry, partial(session.reconstruct, samples)))
    return session.write(sounds, progress)


def write_first_sounds(folder: Location, progress: Progress) -> None:
    """Write some reconstructions and some draws, when the training of a decoder ends.

    The reconstructions are of the validation split, or of the first other split where the shards have none.
    """
    session = open_session(folder.uri)
    reconstructed: list[Location] = []
    for split in ("validation", "test", "train"):
        reconstructed = reconstructed or reconstruct_split(session, split, NUM_FIRST_UTTERANCES, progress)
    files = [*reconstructed, *sample(session, NUM_FIRST_DRAWS, progress=progress)]
    progress.message(f"{len(files)} sounds in {session.out.uri}")


def _stem(file: str) -> str:
    """File name without folders and ending."""
    return PurePosixPath(Location(file).name).stem


def _hash(*audio: Pcm16) -> str:
    """Short hash of utterances, so that files of one name in several folders do not share names of sounds."""
    digests = b"".join(hashlib.sha256(samples.tobytes()).digest() for samples in audio)
    return hashlib.sha256(digests).hexdigest()[:10]
