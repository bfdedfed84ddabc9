"""Cut crops out of Parquet row groups: the stream's hot function.

The bytes of a PCM16 crop are read straight into their place. FLAC is decoded from the first sample that a crop of the
utterance needs to the last one.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile

from vgim.arrays import I64
from vgim.data.pcm import Pcm16
from vgim.data.shards.read import other_content, undecodable
from vgim.data.stream.ahead import in_order
from vgim.data.stream.order import ReadTask
from vgim.data.stream.row_audio import Octets, RowAudio, open_audio, open_past_copy
from vgim.errors import DataError
from vgim.storage import Location

REMOTE_READS_AT_ONCE = 8
"""Row groups that a task reads at once from storage that answers late, up to 8 MiB each."""


def cut_crops(shard_folder: str, split: str, codec: str, crop_samples: int, task: ReadTask) -> Pcm16:
    """Read the row groups of a task and cut its crops: int16 [num_crops, crop_samples].

    A crop that ends after its utterance is padded with zeros.

    Raises:
        DataError: A shard is missing or damaged, or holds other utterances than the index says.
    """
    crops = np.empty((len(task), crop_samples), np.int16)
    in_file_order = np.lexsort((task.start, task.row, task.group))
    borders = np.searchsorted(task.group[in_file_order], np.arange(len(task.shards) + 1))
    folder = Location(shard_folder).child(split)
    paths = [folder.child(f"{shard:05d}.parquet").uri for shard in task.shards]
    threads = 0 if folder.is_local else REMOTE_READS_AT_ONCE
    places = list(zip(paths, task.row_groups, strict=True))
    opened = in_order(lambda place: open_audio(*place), places, threads)
    for number, (place, row_group_audio) in enumerate(zip(places, opened, strict=True)):
        numbers = in_file_order[borders[number] : borders[number + 1]]
        with row_group_audio as audio:
            try:
                _cut(audio, task, numbers, crops, codec, place[0])
            except DataError as failure:
                with open_past_copy(audio, *place, failure) as shard:
                    _cut(shard, task, numbers, crops, codec, place[0])
    return crops


def _cut(audio: RowAudio, task: ReadTask, numbers: I64, crops: Pcm16, codec: str, path: str) -> None:
    """Cut the crops with these numbers, which are those of one row group."""
    rows = task.row[numbers]
    keys = audio.places.keys
    if rows.max() >= len(keys) or not np.array_equal(keys[rows], task.key[numbers]):
        raise other_content(path)
    copy = _decode_flac if codec == "flac" else _copy_pcm16
    copy(audio, task, numbers, crops, path)


def _copy_pcm16(audio: RowAudio, task: ReadTask, numbers: I64, crops: Pcm16, path: str) -> None:
    """Copy the crops with these numbers."""
    rows, starts = task.row[numbers], task.start[numbers]
    num_bytes = audio.places.num_bytes[rows]
    if not np.array_equal(num_bytes, 2 * task.num_samples[numbers]):
        raise other_content(path)
    begins = audio.places.begins[rows] + 2 * starts
    octets = crops.view(np.uint8)
    wanted = np.minimum(octets.shape[1], num_bytes - 2 * starts)
    audio.will_read(begins, wanted)
    for number, begin, num_wanted in zip(numbers.tolist(), begins.tolist(), wanted.tolist(), strict=True):
        audio.read_into(octets[number, :num_wanted], begin)
        octets[number, num_wanted:] = 0


def _decode_flac(audio: RowAudio, task: ReadTask, numbers: I64, crops: Pcm16, path: str) -> None:
    """Decode the crops with these numbers, which are in the order of their rows and starts."""
    rows, starts = task.row[numbers], task.start[numbers]
    first_of_row = np.flatnonzero(np.diff(rows, prepend=-1))
    begins, num_bytes = (
        column[rows[first_of_row]] for column in (audio.places.begins, audio.places.num_bytes)
    )
    audio.will_read(begins, num_bytes)
    ends = [*first_of_row[1:], len(rows)]
    for first, end, place, size in zip(first_of_row, ends, begins.tolist(), num_bytes, strict=True):
        flac = np.empty(size, np.uint8)
        audio.read_into(flac, place)
        begin = int(starts[first])
        length = int(task.num_samples[numbers[first]])
        samples = _decode(flac, begin, min(int(starts[end - 1]) + crops.shape[1], length), length, path)
        for number, start in zip(numbers[first:end], starts[first:end] - begin, strict=True):
            crop = samples[start : start + crops.shape[1]]
            crops[number, : len(crop)] = crop
            crops[number, len(crop) :] = 0


class _ForwardReader(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file whose `read` leaves the decoder where it stopped.

    After each read, SoundFile seeks to where the decoder stands already, and libFLAC decodes frames to find the place.
    """

    def seekable(self) -> bool:
        return False


def _decode(flac: Octets, begin: int, end: int, num_samples: int, path: str) -> Pcm16:
    """Decode samples [begin, end) of FLAC that holds `num_samples`."""
    try:
        with _ForwardReader(io.BytesIO(flac.tobytes())) as source:
            if source.frames != num_samples:
                raise other_content(path)
            if begin:
                source.seek(begin)
            samples: Pcm16 = source.read(end - begin, dtype="int16")
    except soundfile.LibsndfileError as error:
        raise undecodable(path, str(error)) from error
    if len(samples) != end - begin:
        raise undecodable(path, f"{len(samples)} samples from sample {begin} on")
    return samples
