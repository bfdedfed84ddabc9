"""Sounds of a trained decoder: reconstructions, draws from N(0, I), interpolations and traversals of one dimension.

Shapes: T frames, C channels, L samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import torch

from vgim.data.pcm import PCM16_SCALE
from vgim.data.shards.manifest import check_shards_present, read_manifest
from vgim.data.shards.read import read_utterances
from vgim.data.sound_file import read_sound
from vgim.decode.session import DecoderSession, open_session
from vgim.decode.sound_files import SoundEntry, write_wav
from vgim.errors import ConfigError
from vgim.model.randomness import mix, seeded_generator
from vgim.storage import Location

NUM_FIRST_UTTERANCES, NUM_FIRST_DRAWS = 4, 4
"""Sounds that are written when training ends."""
MOST_SAMPLES = 80_000
"""Longest reconstruction of an utterance: five seconds."""


def sample(session: DecoderSession, count: int, seed: int = 0) -> list[Location]:
    """Decode `count` draws of z ~ N(0, I) in every frame, each as long as a training crop; return the files."""
    num_samples = session.decoder.config.data.crop_samples
    shape = (1, session.decoder.decoder.num_frames(num_samples), session.num_channels)
    sounds = []
    for i in range(count):
        z_BTC = torch.randn(shape, generator=seeded_generator("cpu", mix("draw", seed, i)))
        name = f"seed{seed}-{i}"
        entry = SoundEntry(
            file=session.file_of("sample", name), group="sample", title=f"draw {i} of seed {seed}"
        )
        sounds.append((entry, session.audio(z_BTC, num_samples)))
    return session.write(sounds)


def interpolate(
    session: DecoderSession, first: str, second: str, steps: int, log: Callable[[str], None] = print
) -> list[Location]:
    """Decode `steps` points on the straight line from the latents of one file to those of another; return the files.

    The longer utterance is cut to the length of the shorter.

    Args:
        log: Prints a line, such as how a file was resampled.
    """
    a, b = read_sound(first, log), read_sound(second, log)
    num_samples = min(len(a), len(b))
    a, b = a[:num_samples], b[:num_samples]
    a_BTC, b_BTC = session.latents(a), session.latents(b)
    title = f"{_stem(first)} to {_stem(second)}"
    sounds = []
    for i in range(steps):
        share = i / (steps - 1)
        name = f"{_stem(first)}-{_stem(second)}-{i:02d}"
        entry = SoundEntry(
            file=session.file_of("interpolation", name), group="interpolation", title=title, value=share
        )
        sounds.append((entry, session.audio(torch.lerp(a_BTC, b_BTC, share), num_samples, a)))
    return session.write(sounds)


def traverse(
    session: DecoderSession,
    file: str,
    dims: Sequence[int],
    bounds: tuple[float, float],
    steps: int,
    log: Callable[[str], None] = print,
) -> list[Location]:
    """Decode an utterance with one dimension of its latents set to one value in all frames; return the files.

    Args:
        dims: Dimensions, one after another.
        bounds: First and last value.
        steps: Values of each dimension, evenly spaced.
        log: Prints a line, such as how the file was resampled.

    Raises:
        ConfigError: The latents have no such dimension.
    """
    samples = read_sound(file, log)
    latents_BTC = session.latents(samples)
    num = latents_BTC.shape[2]
    for dim in dims:
        if not 0 <= dim < num:
            raise ConfigError(f"--dims {dim}, but the latents have {num} dimensions; use 0 to {num - 1}")
    sounds = []
    for dim in dims:
        for i in range(steps):
            value = bounds[0] + (bounds[1] - bounds[0]) * i / (steps - 1)
            changed_BTC = latents_BTC.clone()
            changed_BTC[..., dim] = value
            name = f"{_stem(file)}-dim{dim}-{i:02d}"
            entry = SoundEntry(
                file=session.file_of("traversal", name),
                group="traversal",
                title=_stem(file),
                value=value,
                dimension=dim,
            )
            sounds.append((entry, session.audio(changed_BTC, len(samples), samples)))
    return session.write(sounds)


def reconstruct_split(session: DecoderSession, split: str, count: int) -> list[Location]:
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
        sounds.append((entry, session.reconstruct(samples)))
    return session.write(sounds)


def write_first_sounds(folder: Location, log: Callable[[str], None]) -> None:
    """Write some reconstructions of the validation split and some draws, when the training of a decoder ends."""
    session = open_session(folder.uri)
    files = [
        *reconstruct_split(session, "validation", NUM_FIRST_UTTERANCES),
        *sample(session, NUM_FIRST_DRAWS),
    ]
    log(f"{len(files)} sounds in {session.out.uri}")


def _stem(file: str) -> str:
    """File name without folders and ending."""
    return PurePosixPath(Location(file).name).stem
