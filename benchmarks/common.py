"""Shared by the benchmarks: description of the machine, interleaved timing, tables. Run it to print the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent))  # a script finds only what lies beside it

SGEMM_SIZE = 1536
"""Rows and columns of the matrix product: 7 GFLOP, large enough for arithmetic alone to decide its time."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves the number to torch")
    made.add_argument("--json", metavar="FILE", help="write the results to this file as well")
    return made


def machine() -> dict[str, Any]:
    """Hardware, load and versions, on which the results depend."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def print_machine() -> None:
    """Print the machine in one line; a load well above 0 at the start means that other processes compete for it."""
    print(", ".join(f"{key} {value}" for key, value in machine().items()))


def start(args: argparse.Namespace) -> None:
    """Set torch's threads and print the machine."""
    if args.threads:
        torch.set_num_threads(args.threads)
    print_machine()


def interleaved(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action, `rounds` times in the order A B A B, so that a slow moment of the machine hits all alike.

    Each action runs once before, untimed.
    """
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            began = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each action's times, in seconds."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def sgemm(size: int = SGEMM_SIZE) -> tuple[Callable[[], object], float]:
    """A single-precision matrix product, the most FLOP/s that the machine reaches, and the FLOPs of one product."""
    a, b, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings, text aligned left and numbers right; None is shown as a dash."""
    texts = [[_format(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *texts, strict=True)]
    print("  ".join(name.ljust(width) for name, width in zip(columns, widths, strict=True)).rstrip())
    for row, cells in zip(rows, texts, strict=True):
        aligned = [
            text.ljust(width) if isinstance(cell, str) else text.rjust(width)
            for cell, text, width in zip(row, cells, widths, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def _format(cell: object) -> str:
    if cell is None:
        return "-"
    return (
        f"{cell:.4g}"
        if isinstance(cell, float) and abs(cell) < 1000
        else f"{cell:.0f}"
        if isinstance(cell, float)
        else str(cell)
    )


def write_json(path: str | None, results: Mapping[str, Any]) -> None:
    """Write the results and the machine to `path`, if there is one."""
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")


if __name__ == "__main__":
    print_machine()
