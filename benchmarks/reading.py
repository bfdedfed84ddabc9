"""CPU seconds of the commands that read results: on the small runs of the tests, or on a run and a sweep of your own.

    git worktree add ../before REVISION
    python benchmarks/reading.py --baseline ../before --run RUN --run OTHER --sweep SWEEP

Each command runs in a process of its own, with the code of both source trees in turn. Beside it runs a loop of ten
million additions: the ratio to its time depends less on the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import parser, print_table, start, write_json

HERE = Path(__file__).resolve().parents[1]
RUNS = HERE / "tests" / "written_by_0_1" / "runs"
ADDITIONS = 10_000_000


def cpu_seconds(source: Path, arguments: Sequence[str]) -> float:
    """User and system seconds of `vgim ARGUMENTS` with the code of a source tree."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "vgim", *arguments],
        check=True,
        cwd=source,  # where Python looks first for vgim
        env={**os.environ, "PYTHONPATH": str(source)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loop_seconds() -> float:
    """CPU seconds of the loop of additions in this process."""
    began, number = time.process_time(), 0
    for _ in range(ADDITIONS):
        number = number + 1
    return time.process_time() - began


def commands(runs: Sequence[Path], sweep: Path) -> list[list[str]]:
    """The commands that are measured."""
    first = str(runs[0])
    return [
        ["runs", str(runs[0].parent)],
        ["decode", "list", first],
        ["compare", *map(str, runs)],
        ["sweep", "show", str(sweep)],
        ["report", first],
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each command and source tree; returns 0."""
    made: argparse.ArgumentParser = parser(__doc__)
    made.add_argument(
        "--run",
        type=Path,
        action="append",
        help="a run's folder; the report.html of the first is written anew",
    )
    made.add_argument("--sweep", type=Path, help="a sweep's folder; its results are written anew")
    made.add_argument("--baseline", type=Path, help="source tree of the revision to compare with")
    made.add_argument("--rounds", type=int, default=5, help="times that each command is run, in turn")
    args = made.parse_args(argv)
    start(args)
    trees = {"here": HERE, **({"baseline": args.baseline.resolve()} if args.baseline else {})}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(RUNS, Path(folder) / "runs"))
        runs = [run.resolve() for run in args.run or [copied / "sim", copied / "gim"]]
        for arguments in commands(runs, (args.sweep or copied / "rates").resolve()):
            for source in trees.values():  # untimed: modules are compiled, TensorBoard's events written
                cpu_seconds(source, arguments)
            loops, taken = list[float](), {name: list[float]() for name in trees}
            for _ in range(args.rounds):
                loops.append(loop_seconds())
                for name, source in trees.items():
                    taken[name].append(cpu_seconds(source, arguments))
            command = " ".join(word for word in arguments if "/" not in word)
            loop = statistics.median(loops)
            results += [
                (command, name, min(own), statistics.median(own), statistics.median(own) / loop)
                for name, own in taken.items()
            ]
    columns = ("command", "code", "CPU s, least", "CPU s, median", "per loop")
    print_table(columns, results)
    write_json(args.json, {"reading": [dict(zip(columns, row, strict=True)) for row in results]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
