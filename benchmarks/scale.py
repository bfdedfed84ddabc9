"""What large corpora cost before the first sample is read: made-up shard folders of several sizes, without audio.

Each part runs in a process of its own, which reports CPU seconds and peak memory above that of imports. Utterances are
about as long as those of LibriSpeech. The slope between the two largest sizes is extrapolated to `--predict` hours.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from common import parser, print_table, start, write_json

from vgim.arrays import I64
from vgim.config.schema import DataConfig
from vgim.data.corpora.corpus import Corpus, SourceUtterance
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.manifest import INDEX_NAME, ShardEntry, read_manifest, write_manifest
from vgim.data.shards.plan import TARGET_SHARD_BYTES, ShardPlan, plan_shards
from vgim.data.shards.record import IndexRow, ShardResult, index_table
from vgim.data.shards.splits import Assignment, hash_split
from vgim.data.shards.summarize import summarize
from vgim.data.shards.write import ROW_GROUP_BYTES, ROW_GROUP_ROWS
from vgim.data.stream.order import SplitIndex, epoch_order, read_tasks
from vgim.storage import Location

LIBRISPEECH_HOURS, LIBRISPEECH_UTTERANCES = 960, 281_241
HELD_OUT = 0.01
FOLDER_PARTS = (
    "data info",
    "open the index",
    "plan an epoch, random",
    "plan an epoch, tile",
    "all tasks, tile",
)
CORPUS_PARTS = ("list the corpus", "plan the shards", "write index and manifest")


def lengths(num_utterances: int) -> I64:
    """Samples of each utterance: most of 13 to 17 s, some shorter ones, a few longer."""
    rng = np.random.default_rng(0)
    is_short = rng.random(num_utterances) < 0.3
    seconds = np.where(is_short, rng.uniform(1.4, 10, num_utterances), rng.normal(15, 1, num_utterances))
    return (seconds.clip(1.4, 35) * SAMPLE_RATE_HZ).astype(np.int64)


def utterances_of(num_samples: I64) -> Iterator[SourceUtterance]:
    """Utterances as LibriSpeech names them: 120 of each speaker, 40 in each chapter."""
    transcript = "WORDS AS LONG AS A SENTENCE OF A BOOK " * 5
    for number, length in enumerate(num_samples.tolist()):
        speaker, chapter = number // 120, 100_000 + number // 40
        name = f"{speaker}-{chapter}-{number % 40:04d}"
        path = f"train/{speaker}/{chapter}/{name}.flac"
        yield SourceUtterance(name, str(speaker), str(chapter), path, length, transcript)


def plans_of(num_samples: I64) -> tuple[list[SourceUtterance], dict[str, str], list[ShardPlan]]:
    """The utterances, their splits, and the shards that hold them."""
    utterances = list(utterances_of(num_samples))
    speaker_of = {item.utterance_id: item.speaker_id for item in utterances}
    splits = hash_split(speaker_of, validation_fraction=HELD_OUT, test_fraction=HELD_OUT)
    plans = plan_shards(
        utterances,
        splits,
        corpus_root="/corpus",
        phones={},
        bytes_per_file_byte=2.0,  # `size_bytes` is the number of samples
        target_shard_bytes=TARGET_SHARD_BYTES,
        seed=0,
        options_digest="",
    )
    return utterances, splits, plans


def result_of(plan: ShardPlan) -> ShardResult:
    """What `write_shard` would report of a plan, with row groups as it makes them."""
    rows: list[IndexRow] = []
    group = row = group_bytes = total = 0
    for item in plan.utterances:
        num_bytes = 2 * item.size_bytes
        if row and (row == ROW_GROUP_ROWS or group_bytes + num_bytes > ROW_GROUP_BYTES):
            group, row, group_bytes = group + 1, 0, 0
        rows.append(
            IndexRow(
                utterance_id=item.utterance_id,
                speaker_id=item.speaker_id,
                chapter_id=item.chapter_id,
                row_group=group,
                row=row,
                num_samples=item.size_bytes,
                audio_mean=0.0,
                audio_std=0.1,
            )
        )
        row, group_bytes, total = row + 1, group_bytes + num_bytes, total + num_bytes
    sha256 = hashlib.sha256(plan.digest.encode()).hexdigest()
    entry = ShardEntry(path=plan.path, utterances=len(rows), bytes=total, sha256=sha256)
    return ShardResult(
        digest=plan.digest,
        split=plan.split,
        number=plan.number,
        entry=entry,
        rows=tuple(rows),
        skipped=(),
        sample_sum=0,
        sample_square_sum=1,
    )


def write_folder(folder: Location, num_samples: I64) -> None:
    """A shard folder with index and manifest, whose shards are files of the right size without content."""
    utterances, splits, plans = plans_of(num_samples)
    results = [result_of(plan) for plan in plans]
    index = io.BytesIO()
    pq.write_table(index_table(results), index, compression="zstd")
    folder.child(INDEX_NAME).write_bytes_atomic(index.getvalue())
    corpus = Corpus("librispeech", Location("/corpus"), tuple(utterances))
    manifest = summarize(corpus, "pcm16", {}, "", Assignment(splits), None, results)
    for result in results:
        shard = folder.child(result.entry.path).local_path
        shard.parent.mkdir(parents=True, exist_ok=True)
        with shard.open("wb") as file:
            file.truncate(result.entry.bytes)
    write_manifest(folder, manifest.model_copy(update={"index": file_entry(index.getvalue())}))


def write_corpus(folder: Path, num_samples: I64) -> None:
    """Files of LibriSpeech's layout without content, and transcripts."""
    lines: dict[Path, list[str]] = {}
    for item in utterances_of(num_samples):
        file = folder / item.path
        if file.parent not in lines:
            file.parent.mkdir(parents=True)
        file.touch()
        lines.setdefault(file.parent, []).append(f"{item.utterance_id} {item.transcript}\n")
    for chapter, transcripts in lines.items():
        (chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt").write_text("".join(transcripts))


def part_of(name: str, folder: Path, num_utterances: int) -> Callable[[], object]:
    """The work of one part; what it needs from others is done before it is returned."""
    if name == "list the corpus":
        return lambda: find_librispeech(folder / "corpus")
    if name == "plan the shards":
        num_samples = lengths(num_utterances)
        return lambda: plans_of(num_samples)
    if name == "write index and manifest":
        num_samples = lengths(num_utterances)
        return lambda: write_folder(Location(folder / "again"), num_samples)
    shards = Location(folder / "shards")
    if name == "data info":
        return lambda: check_shards_present(shards, read_manifest(shards))
    crop = "tile" if "tile" in name else "random"
    config = DataConfig.model_validate({"shards": shards.uri, "crop": crop})
    manifest = read_manifest(shards)
    if name == "open the index":
        return lambda: SplitIndex.read(shards, manifest, "train", config)
    index = SplitIndex.read(shards, manifest, "train", config)
    if name == "all tasks, tile":
        order = epoch_order(index, config, seed=0, epoch=0)
        return lambda: [len(pickle.dumps(task)) for task in read_tasks(index, order, 0, order.num_crops)]

    def plan() -> object:
        order = epoch_order(index, config, seed=0, epoch=0)
        return next(read_tasks(index, order, 0, order.num_crops))

    return plan


def measure_here(name: str, folder: Path, num_utterances: int) -> dict[str, float]:
    """Do a part in this process."""
    imported = memory_mib("VmRSS")
    work = part_of(name, folder, num_utterances)
    began, began_wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - began, time.perf_counter() - began_wall
    return {"cpu_s": cpu, "wall_s": wall, "mib": memory_mib("VmHWM") - imported}


def memory_mib(field: str) -> float:
    """A figure of this process's memory, of Linux: VmRSS is what it has now, VmHWM the most that it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return (
        next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024
    )  # "VmRSS:  90228 kB"


def measure(name: str, folder: Path, num_utterances: int) -> dict[str, float]:
    """Do a part in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--part",
        name,
        "--folder",
        str(folder),
        "--utterances",
        str(num_utterances),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_size(num_utterances: int, folder: Path, with_corpus: bool) -> dict[str, dict[str, float]]:
    """All parts at one size."""
    num_samples = lengths(num_utterances)
    write_folder(Location(folder / "shards"), num_samples)
    parts = list(FOLDER_PARTS)
    if with_corpus:
        write_corpus(folder / "corpus", num_samples)
        parts = [*CORPUS_PARTS, *parts]
    return {name: measure(name, folder, num_utterances) for name in parts}


def predicted(results: dict[int, dict[str, dict[str, float]]], hours: float) -> list[list[Any]]:
    """Rows of a table: each part at `hours`, by the line through the two largest sizes."""
    small, large = sorted(results)[-2:]
    wanted = hours / LIBRISPEECH_HOURS * LIBRISPEECH_UTTERANCES
    rows = []
    for name in results[large]:
        at = [
            results[large][name][figure]
            + (results[large][name][figure] - results[small][name][figure])
            * (wanted - large)
            / (large - small)
            for figure in ("cpu_s", "mib")
        ]
        rows.append([name, *at])
    return rows


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument(
        "--hours", type=float, nargs="+", default=[100, 960], help="sizes to measure, at least two"
    )
    options.add_argument("--predict", type=float, default=60_000, help="size to extrapolate to, in hours")
    options.add_argument(
        "--no-corpus", action="store_true", help="leave out the parts that list and plan a corpus"
    )
    options.add_argument("--part", help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--utterances", type=int, help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    if args.part:
        print(json.dumps(measure_here(args.part, args.folder, args.utterances)))
        return 0
    start(args)
    results: dict[int, dict[str, dict[str, float]]] = {}
    for hours in args.hours:
        num_utterances = round(hours / LIBRISPEECH_HOURS * LIBRISPEECH_UTTERANCES)
        with tempfile.TemporaryDirectory(prefix="vgim-scale-") as scratch:
            results[num_utterances] = measure_size(num_utterances, Path(scratch), not args.no_corpus)
        print(f"\n{hours:g} hours, {num_utterances:,} utterances; load {os.getloadavg()[0]:.1f}")
        rows = [[name, *found.values()] for name, found in results[num_utterances].items()]
        print_table(["part", "CPU s", "wall s", "MiB"], rows)
    rows = predicted(results, args.predict)
    print(f"\n{args.predict:g} hours, extrapolated from the slope between the two largest sizes")
    print_table(["part", "CPU s", "MiB"], rows)
    write_json(args.json, {"sizes": results, "predicted": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
