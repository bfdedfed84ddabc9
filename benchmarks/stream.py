"""Compare the stream of crops with DataLoaders that read FLAC files: crops a CPU second, bytes read a crop.

The stream reads PCM16 and FLAC shards, random and tiled crops, in this process and on Ray; the first epoch, in which
row groups are read whole, has rows of its own. Its limit is slicing the same crops from one array in memory. One
DataLoader opens a FLAC file, seeks and reads one crop; the other decodes the whole file and slices it. Rounds are
interleaved, and medians are printed. Where other processes read, their CPU seconds count, and bytes are not known.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import parser, print_table, start, write_json
from ray_cost import cpu_seconds
from torch.utils.data import DataLoader, Dataset

from vgim.config.schema import DataConfig
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.synthetic import synthesize
from vgim.data.pcm import Pcm16
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_utterances
from vgim.data.stream.crops import usable
from vgim.data.stream.order import ReadTask
from vgim.data.stream.readers import CutCrops, Reader, read_in_process, read_on_ray
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.storage import Location

START_GRID = 160
"""Crops start at multiples of this many samples (10 ms), and never at 0."""
LOGICAL_CPUS = 4
GPU_CROPS_PER_S = 4_400
"""Crops that one H100 trains on in a second: sim, 512 channels, bf16, batches of 64."""
CPUS_PER_GPU = 4
TARGETS = (
    ("pcm16 tile, here", "whole", 20),
    ("pcm16 random, here", "seek", 4),
    ("flac random, here", "seek", 1),
)
"""Reader, the DataLoader that it is compared with, and how many times as many crops a CPU second it is to give."""

Batches = Iterator[int]
"""Numbers of crops in batches, as they are read."""


@dataclass(frozen=True)
class Way:
    """A way to read."""

    open: Callable[[], Batches]
    own_processes: bool = False
    """Whether other processes read for this one."""


@dataclass(frozen=True)
class Pass:
    """What reading some epochs once took."""

    crops_per_s: float
    crops_per_cpu_s: float
    first_batch_s: float
    bytes_per_crop: float | None


def timed(way: Way) -> Pass:
    """Read all batches once, from the start of the loader on."""

    def cpu_s() -> float:
        return cpu_seconds(os.getpid()) if way.own_processes else time.process_time()

    batches = way.open()
    began, began_cpu, began_bytes = time.perf_counter(), cpu_s(), _bytes_read()
    num_crops = next(batches)
    first = time.perf_counter()
    num_crops += sum(batches)
    num_bytes, cpu, wall = _bytes_read() - began_bytes, cpu_s() - began_cpu, time.perf_counter() - began
    is_known = num_bytes > 0 and not way.own_processes
    return Pass(
        num_crops / wall,
        num_crops / max(cpu, 1e-3),
        first - began,
        num_bytes / num_crops if is_known else None,
    )


def _bytes_read() -> int:
    """Bytes that this process has read from files, from the page cache too; 0 where the system does not count them."""
    try:
        return int(Path("/proc/self/io").read_text().split()[1])  # "rchar: 3980"
    except (OSError, LookupError):
        return 0


def stream_of(shards: Path, crop: str, reader: Reader, args: argparse.Namespace) -> CropStream:
    config = DataConfig.model_validate({"shards": str(shards), "crop": crop, "crop_samples": args.samples})
    return crop_stream(config, reader, args.batch)


def crop_stream(config: DataConfig, reader: Reader, batch: int) -> CropStream:
    """The stream of the only rank's training crops."""
    shards = Location(config.shards)
    return CropStream(
        shards,
        read_manifest(shards),
        config,
        split="train",
        rank_slice=RankSlice(0, 1, batch),
        seed=0,
        reader=reader,
    )


def ours(shards: Path, crop: str, reader: Reader, epochs: int, args: argparse.Namespace) -> Batches:
    """Batches of our stream, over whole epochs of the train split."""
    stream = stream_of(shards, crop, reader, args)
    return (len(batch.audio) for batch in stream.train_batches(0, 0, epochs=epochs))


def first_epoch(shards: Path, crop: str, args: argparse.Namespace) -> Batches:
    """One epoch of shards that changed since this process read them: each row group is read whole, and checked."""
    for shard in shards.rglob("*.parquet"):
        shard.touch()
    return ours(shards, crop, read_in_process, 1, args)


def sliced(shards: Path, crop: str, args: argparse.Namespace) -> Batches:
    """The crops of our stream, sliced from one array in memory."""

    def nothing(cut: CutCrops, tasks: list[ReadTask]) -> Iterator[Pcm16]:
        return (np.empty((len(task), 0), np.int16) for task in tasks)

    stream = stream_of(shards, crop, nothing, args)
    audio = [u.audio for u in read_utterances(Location(shards), read_manifest(shards), "train")]
    keep = usable(np.array([len(samples) for samples in audio]), stream._config)
    used = [samples for samples, is_used in zip(audio, keep, strict=True) if is_used]
    data, firsts = np.concatenate(used), np.cumsum([0, *map(len, used)])
    batches = stream.train_batches(0, 0, epochs=args.epochs)
    places = [(firsts[batch.utterance] + batch.start).tolist() for batch in batches]

    def read() -> Batches:
        for begins in places:
            out = np.empty((len(begins), args.samples), np.int16)
            for row, begin in enumerate(begins):
                out[row] = data[begin : begin + args.samples]
            yield len(out)

    return read()


class FlacFiles(Dataset[torch.Tensor]):
    """One crop of each FLAC file, from a random start."""

    def __init__(self, files: list[Path], num_samples: int, whole: bool) -> None:
        lengths = [soundfile.info(file).frames for file in files]
        self.items = [(f, n) for f, n in zip(files, lengths, strict=True) if n >= num_samples + START_GRID]
        self.num_samples, self.whole = num_samples, whole
        self.starts = np.random.default_rng(0).random(len(self.items))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> torch.Tensor:
        file, length = self.items[index]
        num_starts = (length - self.num_samples) // START_GRID
        begin = START_GRID * (1 + int(self.starts[index] * num_starts)) if num_starts > 1 else START_GRID
        begin = min(begin, length - self.num_samples)
        if self.whole:
            samples, _ = soundfile.read(file, dtype="int16")
            return torch.from_numpy(samples[begin : begin + self.num_samples])
        with soundfile.SoundFile(file) as source:
            source.seek(begin)
            return torch.from_numpy(source.read(self.num_samples, dtype="int16"))


def plain(files: list[Path], args: argparse.Namespace, whole: bool, num_workers: int) -> Batches:
    """Batches of a DataLoader, over fewer epochs than the stream, which reads much faster."""
    epochs = max(1, args.epochs // (10 if whole else 4))
    dataset = FlacFiles(files, args.samples, whole)
    # All epochs in one order: a DataLoader starts its workers anew for each iteration.
    order = [i for _ in range(epochs) for i in torch.randperm(len(dataset)).tolist()]
    loader = DataLoader(
        dataset,
        batch_size=args.batch,
        sampler=order,
        num_workers=num_workers,
        drop_last=True,
        multiprocessing_context="fork" if num_workers else None,
    )
    return (len(batch) for batch in loader)


@contextmanager
def local_ray() -> Iterator[None]:
    """Start Ray on this machine, unless it runs already, and stop it at the end."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        num_cpus=LOGICAL_CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, list[Pass]]:
    """Read in every way, in turn."""
    corpus = args.corpus
    if corpus is None:
        corpus = scratch / "corpus"
        synthesize(corpus, speakers=12, utterances=args.utterances)
    folders = [args.shards] if args.shards else []
    if not folders:
        for codec in ("pcm16", "flac"):
            folders.append(scratch / codec)
            prepare(find_librispeech(corpus), folders[-1], codec=codec, workers=0)
    ways: dict[str, Way] = {}
    for shards in folders:
        codec = read_manifest(shards).codec
        epochs = args.epochs if codec == "pcm16" else max(1, args.epochs // 4)
        for crop in ("random", "tile"):
            name = f"{codec} {crop}"
            ways[f"{name}, here"] = Way(partial(ours, shards, crop, read_in_process, epochs, args))
            if not args.shards:
                ways[f"{name}, here, first epoch"] = Way(partial(first_epoch, shards, crop, args))
            if not args.no_ray:
                ways[f"{name}, Ray"] = Way(
                    partial(ours, shards, crop, read_on_ray, epochs, args), own_processes=True
                )
            if codec == "pcm16":
                ways[f"{name}, sliced from memory"] = Way(partial(sliced, shards, crop, args))
    files = sorted(Path(corpus).rglob("*.flac"))
    ways["seek"] = Way(partial(plain, files, args, False, 0))
    ways["seek, 2 loader processes"] = Way(partial(plain, files, args, False, 2), own_processes=True)
    ways["whole"] = Way(partial(plain, files, args, True, 0))
    results: dict[str, list[Pass]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            results[name].append(timed(way))
    return results


def median_pass(passes: list[Pass]) -> Pass:
    """The median of each figure."""
    byte_counts = [p.bytes_per_crop for p in passes if p.bytes_per_crop is not None]
    return Pass(
        statistics.median(p.crops_per_s for p in passes),
        statistics.median(p.crops_per_cpu_s for p in passes),
        statistics.median(p.first_batch_s for p in passes),
        statistics.median(byte_counts) if byte_counts else None,
    )


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument(
        "--utterances", type=int, default=600, help="utterances of the embedded corpus, which is made"
    )
    options.add_argument(
        "--corpus",
        type=Path,
        help="folder of FLAC files in LibriSpeech's layout instead",
    )
    options.add_argument("--shards", type=Path, help="shards to stream instead of preparing the corpus")
    options.add_argument("--epochs", type=int, default=20, help="epochs that the stream reads in a round")
    options.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    options.add_argument("--batch", type=int, default=8, help="crops in a batch")
    options.add_argument("--samples", type=int, default=20_480, help="samples in a crop")
    options.add_argument("--no-ray", action="store_true", help="leave out the stream on Ray")
    args = options.parse_args(argv)
    start(args)
    with tempfile.TemporaryDirectory(prefix="vgim-bench-") as scratch:
        if args.no_ray:
            results = measure(args, Path(scratch))
        else:
            with local_ray():
                results = measure(args, Path(scratch))
    median = {name: median_pass(passes) for name, passes in results.items()}
    seek, whole = median["seek"].crops_per_cpu_s, median["whole"].crops_per_cpu_s
    print(f"\nbatches of {args.batch} crops of {args.samples} samples; median of {args.rounds} rounds")
    print(f"load {os.getloadavg()[0]:.1f}")
    print_table(
        ["reader", "crops/s", "crops/CPU s", "x seek", "x whole", "KiB a crop", "s to first batch"],
        [
            (
                name,
                p.crops_per_s,
                p.crops_per_cpu_s,
                p.crops_per_cpu_s / seek,
                p.crops_per_cpu_s / whole,
                None if p.bytes_per_crop is None else p.bytes_per_crop / 1024,
                p.first_batch_s,
            )
            for name, p in median.items()
        ],
    )
    print(
        "x seek, x whole: crops a CPU second beside the DataLoaders that seek in FLAC files, and decode whole ones"
    )
    for name, loader, times in TARGETS:
        if name in median:
            ratio = median[name].crops_per_cpu_s / median[loader].crops_per_cpu_s
            print(
                f"{name}: {ratio:.1f} x {loader}, target {times}: {'reached' if ratio >= times else 'missed'}"
            )
    for name, p in median.items():
        if name.endswith((", here", ", Ray")):
            rate = CPUS_PER_GPU * p.crops_per_cpu_s
            print(
                f"{name}: {CPUS_PER_GPU} CPUs give {rate:,.0f} crops/s, {rate / GPU_CROPS_PER_S:.1f} x a GPU's"
            )
    write_json(args.json, {"readers": {name: vars(p) for name, p in median.items()}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
