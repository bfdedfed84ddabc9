"""Read epochs from slow storage, with and without `data.cache_dir`, and from this machine's disk.

The storage is a folder behind `tests/faulty_storage.py`: each of its calls takes some milliseconds, and all its reads
together get some MiB a second. Each round reads in every way in turn, from a stream and a cache that are new.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import parser, print_table, start, write_json
from stream import crop_stream

from tests.faulty_storage import SCHEME, Faults, faulty_storage
from vgim.config.schema import DataConfig
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.synthetic import synthesize
from vgim.data.shards import cache
from vgim.data.shards.prepare import prepare
from vgim.data.stream import row_audio
from vgim.data.stream.readers import read_in_threads
from vgim.data.stream.stream import CropStream

MIB = 2**20
EPOCHS = 3
COLUMNS = ["crops, read from", "epoch", "s", "x storage", "first batch, s", "MiB read from storage"]
LEGEND = """\
cache: data.cache_dir, empty before epoch 1; another process: one that begins when the cache is full of the shards, and
compares their hashes; x storage: the storage's time over this one, of the same epoch and round"""


@dataclass(frozen=True)
class Epoch:
    """What reading an epoch took."""

    seconds: float
    first_batch_s: float
    mib: float


def epochs_of(stream: CropStream, faults: Faults) -> list[Epoch]:
    """Read some epochs, one after the other."""
    found = []
    for epoch in range(EPOCHS):
        before, began = faults.bytes_read, time.perf_counter()
        batches = stream.train_batches(epoch, 0, epochs=epoch + 1)
        next(batches)
        first = time.perf_counter() - began
        for _ in batches:
            pass
        found.append(Epoch(time.perf_counter() - began, first, (faults.bytes_read - before) / MIB))
    return found


def stream_of(shards: str, crop: str, cache_dir: str, args: argparse.Namespace) -> CropStream:
    """A stream as a process has it that has read nothing yet."""
    cache._caches.clear()
    cache._cache_of.clear()
    row_audio._found.cache_clear()
    config = DataConfig.model_validate({"shards": shards, "crop": crop, "cache_dir": cache_dir})
    return crop_stream(config, read_in_threads, args.batch)


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, list[list[Epoch]]]:
    """Way to read → its epochs in each round."""
    shards, copies = scratch / "slow" / "shards", scratch / "cache"
    synthesize(scratch / "corpus", speakers=12, utterances=args.utterances)
    prepare(
        find_librispeech(scratch / "corpus"),
        shards,
        workers=0,
        target_shard_bytes=int(args.shard_mib * MIB),
    )
    faults = Faults(latency_s=args.latency_ms / 1000, bytes_per_s=args.mib_per_s * MIB)
    remote = f"{SCHEME}://slow/shards"
    found: dict[str, list[list[Epoch]]] = {}
    with faulty_storage(scratch, faults):
        for _ in range(args.rounds):
            for crop in ("random", "tile"):
                shutil.rmtree(copies, ignore_errors=True)
                ways = {
                    "storage": (remote, ""),
                    "cache": (remote, str(copies)),
                    "cache, another process": (remote, str(copies)),
                    "this disk": (str(shards), ""),
                }
                for way, (folder, cache_dir) in ways.items():
                    stream = stream_of(folder, crop, cache_dir, args)
                    found.setdefault(f"{crop}, {way}", []).append(epochs_of(stream, faults))
    return found


def rows_of(found: dict[str, list[list[Epoch]]]) -> list[list[object]]:
    """The rows of the table: medians over the rounds."""
    rows: list[list[object]] = []
    for name, rounds in found.items():
        storage = found[f"{name.partition(',')[0]}, storage"]
        for epoch in range(EPOCHS):
            mine = [one[epoch] for one in rounds]
            ratios = [base[epoch].seconds / e.seconds for base, e in zip(storage, mine, strict=True)]
            rows.append(
                [
                    name,
                    str(epoch + 1),
                    statistics.median(e.seconds for e in mine),
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                    statistics.median(e.first_batch_s for e in mine),
                    statistics.median(e.mib for e in mine),
                ]
            )
    return rows


def main(arguments: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--utterances", type=int, default=720, help="synthetic utterances")
    options.add_argument("--shard-mib", type=float, default=8, help="MiB of audio in a shard, roughly")
    options.add_argument("--batch", type=int, default=8, help="crops in a batch")
    options.add_argument(
        "--latency-ms", type=float, default=20, help="milliseconds of each call of the storage"
    )
    options.add_argument("--mib-per-s", type=float, default=100, help="MiB a second of all reads together")
    options.add_argument("--rounds", type=int, default=3, help="rounds")
    args = options.parse_args(arguments)
    start(args)
    with tempfile.TemporaryDirectory(prefix="vgim-bench-") as scratch:
        found = measure(args, Path(scratch))
    print(f"{args.latency_ms:g} ms a call, {args.mib_per_s:g} MiB/s")
    print_table(COLUMNS, rows_of(found))
    print(LEGEND)
    write_json(
        args.json,
        {
            "seconds": {
                f"{name}, epoch {epoch + 1}": [one[epoch].seconds for one in rounds]
                for name, rounds in found.items()
                for epoch in range(EPOCHS)
            }
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
