"""Compare the greedy training step with a naive one on a GPU, by precision: time, crops/s, memory, MFU.

MFU (model FLOPs utilization) is the rate of useful work over the rate of a large matrix product in the same precision,
measured in the same run. Useful work is the number of FLOPs of the naive step. Times are medians of interleaved rounds.
`joint, one stream` is the graph of `joint, graphs` in which every kernel waits for the one before.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from common import parser, print_table, start, write_json
from naive import NaiveEncoder, NaiveStep
from step import FAMILIES, KLD_WEIGHT, Case, build_greedy, useful_flops

from vgim.model.precision import Precision, autocast_to, set_precision
from vgim.model.stack import build_encoder
from vgim.training import passes
from vgim.training.graphs import ModuleStreams

PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
PRODUCT_SIZE = 8192
STEPS_A_ROUND = 5
Step = Callable[[], object]


def naive_step(case: Case, precision: Precision) -> Step:
    autocast = set_precision(precision)
    step, audio = NaiveStep(NaiveEncoder(*case.configs()).cuda()), case.audio().cuda()

    def take() -> None:
        with autocast_to(autocast, audio.device):
            step(audio, KLD_WEIGHT[case.family])

    return take


def greedy_step(case: Case, precision: Precision, **options: bool) -> Step:
    autocast = set_precision(precision)
    everything = range(case.configs()[0].num_modules)
    return build_greedy(case, everything, device="cuda", autocast=autocast, **options).take


def product_rate(precision: Precision) -> float:
    """FLOP/s of a large matrix product in this precision."""
    set_precision(precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device="cuda", dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * PRODUCT_SIZE**3 / statistics.median(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(5))


def seconds(action: Step) -> float:
    """Seconds of one call, the mean of STEPS_A_ROUND calls, by the GPU's clock."""
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    began.record()
    for _ in range(STEPS_A_ROUND):
        action()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) / 1000 / STEPS_A_ROUND


def peak_mib(action: Step) -> float:
    """Peak memory of a step in MiB, less what is allocated between steps."""
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    idle = torch.cuda.memory_allocated()
    action()
    return float(torch.cuda.max_memory_allocated() - idle) / 2**20


class OneStream(ModuleStreams):
    """The same stream for all modules."""

    def __init__(self, modules: Sequence[int], device: torch.device) -> None:
        super().__init__(modules, device)
        self.of_module = dict.fromkeys(modules, self.of_module[modules[0]])


def with_graphs(case: Case, precision: Precision, streams: type[ModuleStreams]) -> tuple[Step, float]:
    """The step as a CUDA graph, and the MiB that the graph keeps besides weights, gradients and Adam's moments."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    with mock.patch.object(passes, "ModuleStreams", streams):
        take = greedy_step(case, precision, cuda_graphs=True)
    for _ in range(3):
        take()
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    encoder = build_encoder(*case.configs(), 0)
    state = 4 * sum(p.numel() * p.element_size() for p in encoder.parameters())
    return take, (torch.cuda.memory_reserved() - before - state) / 2**20


def kernel_times(action: Step) -> Counter[str]:
    """Milliseconds of each kernel of a step, by its name. Of kernels that run side by side, each counts in full."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiled:
        for _ in range(STEPS_A_ROUND):
            action()
        torch.cuda.synchronize()
    times = Counter[str]()
    for event in profiled.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            times[event.name] += event.device_time / 1000 / STEPS_A_ROUND
    return times


def measure(
    case: Case, precision: Precision, *, rounds: int, naive: bool, compiled: bool, num_kernels: int
) -> list[dict[str, Any]]:
    """Time and memory of every variant of a case in one precision, a row for each."""
    built: dict[str, Step] = {"naive": naive_step(case, precision)} if naive else {}
    built["joint, eager"] = greedy_step(case, precision, cuda_graphs=False)
    if compiled:
        built["joint, compiled"] = greedy_step(case, precision, cuda_graphs=False, compile_modules=True)
    peaks: dict[str, float | None] = {}
    for name, take in built.items():
        for _ in range(3):
            take()
        peaks[name] = peak_mib(take)
    for name, streams in (("joint, one stream", OneStream), ("joint, graphs", ModuleStreams)):
        built[name], peaks[name] = with_graphs(case, precision, streams)
    rate = product_rate(precision)
    taken: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(rounds):
        for name, take in built.items():
            taken[name].append(seconds(take))
    flops = useful_flops(case, range(case.configs()[0].num_modules))
    median = {name: statistics.median(values) for name, values in taken.items()}
    if num_kernels:
        times = kernel_times(built["joint, graphs"])
        print(f"{times.total():8.3f} ms of kernels in a step of joint, graphs; of these:")
        for kernel, ms in times.most_common(num_kernels):
            print(f"{ms:8.3f} ms  {kernel[:140]}")
    del built, take
    gc.collect()
    torch.cuda.empty_cache()
    return [
        {
            "family": case.family,
            "precision": precision,
            "batch": case.batch,
            "variant": name,
            "ms": 1000 * s,
            "crops_per_s": case.batch / s,
            "speedup": median["naive"] / s if naive else None,
            "tflop_per_s": flops / s / 1e12,
            "product_tflop_per_s": rate / 1e12,
            "mfu": flops / s / rate,
            "mib": peaks[name],
        }
        for name, s in median.items()
    ]


def show(rows: list[dict[str, Any]]) -> None:
    print_table(
        ["family", "precision", "B", "step", "ms", "crops/s", "x naive", "TFLOP/s", "MFU", "MiB"],
        [
            (
                row["family"],
                row["precision"],
                row["batch"],
                row["variant"],
                row["ms"],
                row["crops_per_s"],
                row["speedup"],
                row["tflop_per_s"],
                f"{row['mfu']:.1%} of {row['product_tflop_per_s']:.0f}",
                row["mib"],
            )
            for row in rows
        ],
    )
    print(
        "B: crops in a batch; ms: of a step; x naive: how many times as fast as the naive step; MFU: share of a large "
        "matrix product's TFLOP/s; MiB: peak memory less that between steps (for graphs: memory that they keep)"
    )


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--families", nargs="+", choices=FAMILIES, default=["sim"])
    options.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    options.add_argument("--batches", type=int, nargs="+", default=[8, 64])
    options.add_argument("--channels", type=int, default=512)
    options.add_argument("--samples", type=int, default=20_480, help="samples in a crop")
    options.add_argument("--rounds", type=int, default=5, help="timed rounds, of five steps each")
    options.add_argument("--no-naive", action="store_true", help="leave out the naive step, the slowest")
    options.add_argument("--kernels", type=int, default=0, help="also print so many of the longest kernels")
    options.add_argument(
        "--compiled",
        action="store_true",
        help="measure train.compile=true as well, which takes a minute to start",
    )
    args: argparse.Namespace = options.parse_args(argv)
    if not torch.cuda.is_available():
        print("torch finds no GPU, so there is nothing to measure; run this on a machine with one")
        return 0
    start(args)
    print(torch.cuda.get_device_name())
    rows = []
    for family in args.families:
        for batch in args.batches:
            case = Case(family, args.channels, batch, args.samples)
            for precision in args.precisions:
                measured = measure(
                    case,
                    precision,
                    rounds=args.rounds,
                    naive=not args.no_naive,
                    compiled=args.compiled,
                    num_kernels=args.kernels,
                )
                show(measured)
                rows += measured
    write_json(args.json, {"device": torch.cuda.get_device_name(), "steps": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
