"""Sound files that a user names, read as 16 kHz mono PCM16; what had to be converted is said in a note."""

from __future__ import annotations

from collections.abc import Callable

from vgim.data.audio import DecodedAudio, decode
from vgim.data.audio_problem import AudioProblem
from vgim.data.foreign import own_problems, read_foreign
from vgim.data.pcm import SAMPLE_RATE_HZ, Pcm16
from vgim.errors import DataError
from vgim.storage import Location


def read_sound(file: str, note: Callable[[str], None]) -> Pcm16:
    """Read a sound file of any sample rate and number of channels.

    Other sample rates than 16 kHz are resampled and channels are averaged, as `vgim data prepare` does with --resample
    and --mixdown.

    Args:
        file: Path or URI of a WAV, FLAC or other file that libsndfile reads.
        note: Called with one line if the samples are not those of the file.

    Returns:
        [num_samples], 16 kHz mono.

    Raises:
        DataError: The file is no audio, is damaged, or has a sample rate that has no small ratio to 16 kHz.
        StorageError: There is no such file, or it cannot be read.
    """
    path = Location(file)
    try:
        data = read_foreign(path)
    except AudioProblem as problem:
        raise DataError(f"{path.uri} cannot be read: {problem.reason}") from problem
    return decode_sound(data, path.uri, note)


def decode_sound(data: bytes, name: str, note: Callable[[str], None]) -> Pcm16:
    """Decode the bytes of a sound file, as `read_sound` does.

    Args:
        data: The whole file.
        name: What errors and notes call the file.
        note: Called with one line if the samples are not those of the file.

    Returns:
        [num_samples], 16 kHz mono.

    Raises:
        DataError: The file is no audio, is damaged, or has a sample rate that has no small ratio to 16 kHz.
    """
    try:
        with own_problems():
            audio = decode(data, resample=True, mixdown=True)
    except AudioProblem as problem:
        fix = (
            "" if problem.kind == "sample rate" else "; give a WAV, FLAC or other file that libsndfile reads"
        )
        raise DataError(f"{name} cannot be decoded: {problem.reason}{fix}") from problem
    converted = _conversion(audio)
    if converted:
        note(f"note: {name}: {converted}")
    return audio.samples


def _conversion(audio: DecodedAudio) -> str:
    """What was done to the samples of a file; empty if nothing was."""
    parts = []
    if audio.num_channels > 1:
        parts.append(f"averaged {audio.num_channels} channels")
    if audio.rate_hz != SAMPLE_RATE_HZ:
        parts.append(f"resampled {audio.rate_hz} Hz to {SAMPLE_RATE_HZ} Hz")
    if audio.rate_hz < SAMPLE_RATE_HZ:
        parts.append(f"it has nothing above {audio.rate_hz // 2} Hz, which the encoder was trained with")
    return ", ".join(parts)
