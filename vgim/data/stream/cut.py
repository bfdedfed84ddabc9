"""Cutting crops out of Parquet row groups: the one hot function of the stream.

PCM16 crops are copied straight from the Arrow buffer of the row group; FLAC crops are decoded from the sample
that is asked for, so that a crop never costs a whole utterance.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from numpy.typing import NDArray

from vgim.data.stream.crops import I64
from vgim.data.stream.order import ReadTask
from vgim.errors import DataError
from vgim.storage import Location

I16 = NDArray[np.int16]


@lru_cache(maxsize=16)
def open_shard(path: str) -> pq.ParquetFile:
    """A shard's Parquet file; DataError where it cannot be read.

    Footers are parsed once per process; a shard folder is never rewritten in place.
    """
    location = Location(path)
    try:
        if location.is_local:
            return pq.ParquetFile(location.local_path, memory_map=True)
        return pq.ParquetFile(location.open_input(), pre_buffer=True)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"shard {path} cannot be read ({reason}); check the folder with `vgim data info --verify`"
        ) from error


def cut(shard_folder: str, split: str, codec: str, crop_samples: int, task: ReadTask) -> I16:
    """Read a window's row groups and cut its crops: int16 [n, crop_samples], zero-padded where audio ends.

    Raises:
        DataError: a shard is missing or damaged.
    """
    out = np.zeros((len(task), crop_samples), np.int16)
    by_group = np.argsort(task.group, kind="stable")
    borders = np.searchsorted(task.group[by_group], np.arange(len(task.shards) + 1))
    for number, (shard, row_group) in enumerate(zip(task.shards, task.row_groups, strict=True)):
        path = Location(shard_folder).child(split, f"{shard:05d}.parquet").uri
        try:
            column = open_shard(path).read_row_group(row_group, columns=["audio"], use_threads=False)["audio"]
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())  # Arrow's own may have several lines
            raise DataError(
                f"row group {row_group} of shard {path} cannot be read ({reason}); "
                "check the folder with `vgim data info --verify`"
            ) from error
        audio = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        crops = by_group[borders[number] : borders[number + 1]]
        if codec == "flac":
            for i in crops:
                _decode(audio[int(task.row[i])].as_py(), int(task.start[i]), out[i], path)
        else:
            _copy(audio, task.row[crops], task.start[crops], crops, out)
    return out


def _copy(audio: pa.Array, rows: I64, starts: I64, crops: I64, out: I16) -> None:
    width = np.int64 if pa.types.is_large_binary(audio.type) else np.int32
    _, offset_buffer, data = audio.buffers()
    offsets = np.frombuffer(offset_buffer, width)[audio.offset :]
    bytes_ = np.frombuffer(data, np.uint8)
    room = out.shape[1]
    for i, row, start in zip(crops.tolist(), rows.tolist(), starts.tolist(), strict=True):
        begin = int(offsets[row]) + 2 * start
        end = min(begin + 2 * room, int(offsets[row + 1]))
        out[i, : (end - begin) // 2] = bytes_[begin:end].view("<i2")


def _decode(flac: bytes, start: int, out: I16, path: str) -> None:
    try:
        with soundfile.SoundFile(io.BytesIO(flac)) as source:
            source.seek(start)
            samples = source.read(len(out), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"shard {path} holds FLAC that does not decode ({error}); prepare it again"
        ) from error
    out[: len(samples)] = samples
