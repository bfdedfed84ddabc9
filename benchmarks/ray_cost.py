"""Compare a run on one local Ray worker with the same run in one process: time to the first step, and time of a step.

Both are `vgim train`, each in a process of its own, in the order A B A B. The script prints both ratios. CPU seconds
are those of the command and all its processes; they depend less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common import parser, print_table, start, write_json

POLL_S = 0.05
IN_PROCESS, ON_RAY = "cluster.workers=0", "cluster.workers=1"


@dataclass(frozen=True)
class Run:
    """What one run took."""

    start_s: float
    """Seconds from the command to the end of the first step."""
    start_cpu_s: float
    """CPU seconds of all its processes in this time."""
    step_s: float
    """Median seconds of a step, over the records after the first."""
    step_cpu_s: float
    """CPU seconds of all its processes from the first step to the last, divided by the steps."""


def cpu_seconds(root: int) -> float:
    """CPU seconds of a process and of all that it started and that live, or have ended under a parent that lives."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(
            map(int, fields[11:15])
        )  # user and system, its own and of children that ended
    total, ours = 0, [root]
    while ours:
        parent = ours.pop()
        total += ticks.get(parent, 0)
        ours += [child for child, its_parent in parents.items() if its_parent == parent]
    return total / os.sysconf("SC_CLK_TCK")


def records_of(metrics: Path) -> list[dict[str, Any]]:
    """The training records that are written so far."""
    if not metrics.exists():
        return []
    whole = metrics.read_text().rpartition("\n")[0].splitlines()
    return [record for record in map(json.loads, whole) if record["kind"] == "train"]


def measure(folder: Path, workers: str, args: argparse.Namespace) -> Run:
    """Train a run once."""
    name = f"{workers[-1]}-{time.time_ns()}"
    command = [
        *(sys.executable, "-m", "vgim", "train", args.preset, workers),
        *(
            f"data.shards={args.shards or folder / 'shards'}",
            f"storage.root={folder}",
            f"storage.name={name}",
        ),
        *(f"train.max_steps={args.steps}", "train.log_every_steps=5", f"model.channels={args.channels}"),
        f"model.gru_units={args.channels}",
    ]
    metrics = folder / name / "metrics.jsonl"
    began = time.time()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    cpu = []
    for wanted in (1, args.steps):
        while not any(r["step"] >= wanted for r in records_of(metrics)) and process.poll() is None:
            time.sleep(POLL_S)
        cpu.append(cpu_seconds(process.pid))
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    first, *others = records_of(metrics)
    step_s = statistics.median(1 / record["steps_per_s"] for record in others)
    return Run(first["time"] - began, cpu[0], step_s, (cpu[1] - cpu[0]) / (args.steps - 1))


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Run both ways in turn, and print medians and ratios."""
    runs: dict[str, list[Run]] = {IN_PROCESS: [], ON_RAY: []}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(args.rounds + 1):
            for workers, done in runs.items():
                run = measure(Path(temporary), workers, args)
                if number:  # the first round fills the caches of files, and makes the embedded corpus
                    done.append(run)
    figures = {
        workers: {
            name: statistics.median(getattr(run, name) for run in done)
            for name in (field.name for field in fields(Run))
        }
        for workers, done in runs.items()
    }
    ratios = {name: figures[ON_RAY][name] / figures[IN_PROCESS][name] for name in figures[ON_RAY]}
    rows = [[name, *values.values()] for name, values in {**figures, "ratio": ratios}.items()]
    print_table(["", "start, s", "start, CPU s", "step, s", "step, CPU s"], rows)
    print(
        f"one worker on Ray: a start {ratios['start_s']:.2f} and a step {ratios['step_s']:.2f} times as long"
    )
    return {"figures": figures, "ratios": ratios, "runs": {k: [vars(r) for r in v] for k, v in runs.items()}}


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    made = parser(__doc__)
    made.add_argument("--preset", default="quickstart", help="preset to train")
    made.add_argument("--shards", help="shards to train on; by default the embedded corpus of the preset")
    made.add_argument("--channels", type=int, default=64, help="width of the encoder")
    made.add_argument("--steps", type=int, default=60, help="optimizer steps of each run")
    made.add_argument("--rounds", type=int, default=3, help="runs of each kind, after one of each to warm up")
    args = made.parse_args(arguments)
    start(args)
    write_json(args.json, compare(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
