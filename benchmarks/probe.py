"""Time of one `vgim probe` command on a run, beside the same command of another revision, and how far results differ.

    git worktree add ../before REVISION
    python benchmarks/probe.py RUN --baseline ../before --options "--all-modules --encoder trained --encoder random"

Each side works on a copy of the run, in turn, in a process of its own. CPU time is the processor time of that process.
Without RUN, a few steps of the preset `quickstart` make one.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import medians, parser, print_table, start, write_json

HERE = Path(__file__).resolve().parents[1]
OPTIONS = "--task phone --task speaker --all-modules --encoder trained --encoder random --encoder mfcc"


def make_run(folder: Path, utterances: int) -> Path:
    """Train a few steps of `quickstart` on a part of the embedded corpus; returns the run's folder."""
    overrides = [f"data.shards={folder / 'shards'}", f"data.synthetic.utterances={utterances}"]
    overrides += [f"storage.root={folder}", "storage.name=made", "train.max_steps=10", "cluster.workers=0"]
    subprocess.run([sys.executable, "-m", "vgim", "train", "quickstart", *overrides], check=True)
    return folder / "made"


def probe(source: Path, run: Path, options: str, threads: int) -> tuple[float, float]:
    """Run the command with the code of a source tree; returns wall and CPU seconds."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    shutil.rmtree(run / "probes", ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "vgim", "probe", str(run), *shlex.split(options)],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu_s


def read_results(run: Path) -> dict[str, dict[str, Any]]:
    """The records of all probes of a run, by folder."""
    return {file.parent.name: json.loads(file.read_text()) for file in run.glob("probes/*/result.json")}


def differences(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Largest differences between the results of two sides."""
    if one.keys() != other.keys():
        raise SystemExit(f"the sides have different results: {sorted(one.keys() ^ other.keys())}")
    pairs = [(one[name], other[name]) for name in one]
    fits = [fit for left, right in pairs for fit in zip(left["fits"], right["fits"], strict=True)]
    return {
        "figures": len(pairs),
        "accuracy": max(abs(left["accuracy"] - right["accuracy"]) for left, right in pairs),
        "validation_loss": max(
            abs(left["validation_loss"] - right["validation_loss"]) for left, right in fits
        ),
        "other_l2": sum(left["l2"] != right["l2"] for left, right in fits),
    }


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("run", type=Path, nargs="?", help="folder of a run; left out: one is made")
    arguments.add_argument("--utterances", type=int, default=120, help="utterances of a run that is made")
    arguments.add_argument("--baseline", type=Path, help="source tree of the revision to compare with")
    arguments.add_argument("--options", default=OPTIONS, help="options of vgim probe")
    arguments.add_argument("--rounds", type=int, default=1, help="times that each side is run, in turn")
    args = arguments.parse_args(argv)
    start(args)
    sides = {"here": HERE} if args.baseline is None else {"baseline": args.baseline.resolve(), "here": HERE}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="vgim-bench-") as folder:
        run = args.run or make_run(Path(folder), args.utterances)
        for name in sides:
            ignored = shutil.ignore_patterns("probes", "features", "tensorboard")
            shutil.copytree(run, Path(folder, name, "run"), ignore=ignored)
        for _ in range(args.rounds):
            for name, source in sides.items():
                wall_s, cpu_s = probe(source, Path(folder, name, "run"), args.options, args.threads)
                wall[name].append(wall_s)
                cpu[name].append(cpu_s)
        results = {name: read_results(Path(folder, name, "run")) for name in sides}
    wall_s, cpu_s = medians(wall), medians(cpu)
    num = len(results["here"])
    print_table(
        ["side", "wall s", "CPU s", "figures a minute of CPU", "x baseline (CPU)"],
        [
            [
                name,
                wall_s[name],
                cpu_s[name],
                60 * num / cpu_s[name],
                next(iter(cpu_s.values())) / cpu_s[name],
            ]
            for name in sides
        ],
    )
    found: dict[str, Any] = {"wall_s": wall_s, "cpu_s": cpu_s, "figures": num}
    if args.baseline is not None:
        found["differences"] = differences(results["baseline"], results["here"])
        print("largest differences:", ", ".join(f"{k} {v:.3g}" for k, v in found["differences"].items()))
    write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
