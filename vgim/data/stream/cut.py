"""Cut crops out of Parquet row groups: the stream's hot function.

PCM16 crops are copied straight from the Arrow buffer of the row group. FLAC is decoded from the crop's first sample
on, so that a crop never costs a whole utterance.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import soundfile

from vgim.arrays import I64
from vgim.data.pcm import Pcm16
from vgim.data.shards.read import column_values, other_content, read_row_group, undecodable
from vgim.data.stream.crops import utterance_keys
from vgim.data.stream.order import ReadTask
from vgim.storage import Location


def cut_crops(shard_folder: str, split: str, codec: str, crop_samples: int, task: ReadTask) -> Pcm16:
    """Read the row groups of a task and cut its crops: int16 [num_crops, crop_samples].

    A crop that ends after its utterance is padded with zeros.

    Raises:
        DataError: A shard is missing or damaged, or holds other utterances than the index says.
    """
    crops = np.zeros((len(task), crop_samples), np.int16)
    by_group = np.argsort(task.group, kind="stable")
    borders = np.searchsorted(task.group[by_group], np.arange(len(task.shards) + 1))
    for number, (shard, row_group) in enumerate(zip(task.shards, task.row_groups, strict=True)):
        path = Location(shard_folder).child(split, f"{shard:05d}.parquet").uri
        table = read_row_group(path, row_group, ("utterance_id", "audio"))
        column = table["audio"]
        audio = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        in_group = by_group[borders[number] : borders[number + 1]]
        rows = task.row[in_group]
        keys = utterance_keys(column_values(table, "utterance_id", path))
        if rows.max() >= len(keys) or not np.array_equal(keys[rows], task.key[in_group]):
            raise other_content(path)
        if codec == "flac":
            for i in in_group:
                flac = audio[int(task.row[i])].as_py()
                _decode_flac(flac, int(task.start[i]), int(task.num_samples[i]), crops[i], path)
        else:
            lengths = pc.binary_length(audio).to_numpy()[rows]
            if not np.array_equal(lengths, 2 * task.num_samples[in_group]):
                raise other_content(path)
            _copy_pcm16(audio, rows, task.start[in_group], in_group, crops)
    return crops


def _copy_pcm16(audio: pa.Array, rows: I64, starts: I64, numbers: I64, crops: Pcm16) -> None:
    """Copy the crops with these numbers from the buffer of an Arrow binary array."""
    offset_type = np.int64 if pa.types.is_large_binary(audio.type) else np.int32
    _, offset_buffer, data = audio.buffers()
    offsets = np.frombuffer(offset_buffer, offset_type)[audio.offset :]
    data_bytes = np.frombuffer(data, np.uint8)
    crop_samples = crops.shape[1]
    for i, row, start in zip(numbers.tolist(), rows.tolist(), starts.tolist(), strict=True):
        begin = int(offsets[row]) + 2 * start
        end = min(begin + 2 * crop_samples, int(offsets[row + 1]))
        crops[i, : (end - begin) // 2] = data_bytes[begin:end].view("<i2")


def _decode_flac(flac: bytes, start: int, num_samples: int, crop: Pcm16, path: str) -> None:
    """Decode FLAC of `num_samples` from sample `start` on into `crop`, [crop_samples]."""
    try:
        with soundfile.SoundFile(io.BytesIO(flac)) as source:
            if source.frames != num_samples:
                raise other_content(path)
            source.seek(start)
            samples = source.read(len(crop), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise undecodable(path, str(error)) from error
    if len(samples) != min(len(crop), num_samples - start):
        raise undecodable(path, f"{len(samples)} samples from sample {start} on")
    crop[: len(samples)] = samples
