"""Compare the stream of crops with DataLoaders that read FLAC files, in crops/s.

The stream reads PCM16 and FLAC shards, in this process and on Ray. One DataLoader opens a FLAC file, seeks and reads
one crop; the other decodes the whole file and slices it. Rates count from the first batch to the end of the last whole
epoch; the time to the first batch is a column of its own. Rounds are interleaved, and medians are printed.
"""

from __future__ import annotations

import argparse
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
from torch.utils.data import DataLoader, Dataset

from vgim.config.schema import DataConfig
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.synthetic import synthesize
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.stream.readers import Reader, read_in_process, read_on_ray
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.storage import Location

START_GRID = 160
"""Crops start at multiples of this many samples (10 ms), and never at 0."""
LOGICAL_CPUS = 4


@dataclass(frozen=True)
class Pass:
    """Speed of reading some epochs once."""

    crops_per_s: float
    first_batch_s: float


def timed(batches: Iterator[int]) -> Pass:
    """Time the reading of all batches; `batches` yields the number of crops in each."""
    began = time.perf_counter()
    next(batches)
    first = time.perf_counter()
    num_crops = sum(batches)
    return Pass(num_crops / (time.perf_counter() - first), first - began)


def ours(shards: Path, args: argparse.Namespace, reader: Reader) -> Iterator[int]:
    """Numbers of crops in the batches of our stream, over whole epochs of the train split."""
    config = DataConfig(shards=str(shards), crop_samples=args.samples)
    stream = CropStream(
        Location(shards),
        read_manifest(shards),
        config,
        split="train",
        rank_slice=RankSlice(0, 1, args.batch),
        seed=0,
        reader=reader,
    )
    for batch in stream.train_batches(0, 0, epochs=args.epochs):
        yield len(batch.audio)


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


def plain(files: list[Path], args: argparse.Namespace, whole: bool, num_workers: int) -> Iterator[int]:
    """Numbers of crops in the batches of a DataLoader, over fewer epochs than the stream, which reads much faster."""
    epochs = max(1, args.epochs // (10 if whole else 4))
    dataset = FlacFiles(files, args.samples, whole)
    # All epochs in one order: a DataLoader starts its workers anew for each iteration.
    order = [i for _ in range(epochs) for i in torch.randperm(len(dataset)).tolist()]
    loader = DataLoader(
        dataset, batch_size=args.batch, sampler=order, num_workers=num_workers, drop_last=True
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
    """Time every way to read, interleaved."""
    corpus = args.corpus
    if corpus is None:
        corpus = scratch / "corpus"
        synthesize(corpus, speakers=12, utterances=args.utterances)
    passes: dict[str, Callable[[], Iterator[int]]] = {}
    readers: dict[str, Reader] = (
        {"here": read_in_process} if args.no_ray else {"here": read_in_process, "Ray": read_on_ray}
    )
    folders = [args.shards] if args.shards else []
    if not folders:
        for codec in ("pcm16", "flac"):
            folders.append(scratch / codec)
            prepare(find_librispeech(corpus), folders[-1], codec=codec, workers=0)
    for shards in folders:
        for name, reader in readers.items():
            passes[f"{read_manifest(shards).codec} shards, {name}"] = partial(ours, shards, args, reader)
    files = sorted(Path(corpus).rglob("*.flac"))
    passes["FLAC files, seek"] = partial(plain, files, args, False, 0)
    passes["FLAC files, seek, 2 workers"] = partial(plain, files, args, False, 2)
    passes["FLAC files, decode whole"] = partial(plain, files, args, True, 0)
    results: dict[str, list[Pass]] = {name: [] for name in passes}
    for _ in range(args.rounds):
        for name, batches in passes.items():
            results[name].append(timed(batches()))
    return results


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
    median = {name: statistics.median(p.crops_per_s for p in passes) for name, passes in results.items()}
    first = {name: statistics.median(p.first_batch_s for p in passes) for name, passes in results.items()}
    seek, whole = median["FLAC files, seek"], median["FLAC files, decode whole"]
    print(f"\nbatches of {args.batch} crops of {args.samples} samples; median of {args.rounds} rounds")
    print_table(
        ["reader", "crops/s", "x seek", "x whole", "s to first batch"],
        [(name, rate, rate / seek, rate / whole, first[name]) for name, rate in median.items()],
    )
    print(
        "x seek, x whole: how many times as fast as the DataLoader that seeks in FLAC files, and as the one that "
        "decodes whole files"
    )
    write_json(args.json, {"crops_per_s": median, "first_batch_s": first})
    return 0


if __name__ == "__main__":
    sys.exit(main())
