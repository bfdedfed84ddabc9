"""Columns of the Parquet files in a shard folder: of a shard, and of `index.parquet`."""

from __future__ import annotations

import pyarrow as pa

SHARD_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("chapter_id", pa.string()),
        ("split", pa.string()),
        ("num_samples", pa.int64()),
        ("sample_rate", pa.int32()),
        ("audio", pa.large_binary()),
        ("transcript", pa.string()),
        ("phones", pa.list_(pa.int16())),
        ("audio_mean", pa.float32()),
        ("audio_std", pa.float32()),
    ]
)
INDEX_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("chapter_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int32()),
        ("num_samples", pa.int64()),
        ("audio_mean", pa.float32()),
        ("audio_std", pa.float32()),
    ]
)
RECORDING_FIELD = pa.field("recording_id", pa.string())
"""Column of an index in which a recording is known that the utterance's id does not tell: of segments with names."""
_PHONES_LEAF = "phones.list.element"
"""Parquet's own name for the values of the list column `phones`."""
DICTIONARY_COLUMNS = ["speaker_id", "chapter_id", "split", "transcript", _PHONES_LEAF]
COMPRESSION = {
    _PHONES_LEAF if name == "phones" else name: "none" if name == "audio" else "zstd"
    for name in SHARD_SCHEMA.names
}
"""Audio stays uncompressed: PCM compresses little, and would be unpacked whole for each crop."""
