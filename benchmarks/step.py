"""Compare the greedy training step with a naive one: time, crops/s, memory, and GFLOP/s beside a matrix product's.

Useful work is the number of FLOPs of the naive step, the same for all variants. Times are medians of interleaved
rounds (A B A B, the matrix product among them), so that ratios hold on a machine that others use as well. Memory is
the peak of a process of its own, less weights, gradients and optimizer state.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from common import interleaved, medians, parser, print_table, sgemm, start, write_json
from naive import NaiveEncoder, NaiveStep, count_flops

from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.model.rank_group import ALONE
from vgim.model.stack import build_encoder
from vgim.training.malloc import keep_freed_memory
from vgim.training.passes import make_passes
from vgim.training.share import Share
from vgim.training.step import GreedyStep

FAMILIES = ("sim", "gim", "cpc")
KLD_WEIGHT = {"sim": 0.001, "gim": 0.0, "cpc": 0.0}
MIB = 2**20
PLAIN = "naive, plain malloc"
LEGEND = """\
step: naive is written from the formulas (naive.py), joint is vgim's step on all modules, sequential m trains module m
alone; x naive, x plain: how many times as fast as the naive step with vgim's malloc settings, and without them;
GFLOP: useful work of a step; of sgemm: share of the GFLOP/s of a large matrix product here; MiB: peak memory less
weights, gradients and optimizer state"""


@dataclass(frozen=True)
class Case:
    """Encoder and batch that a step is measured on."""

    family: str
    channels: int
    batch: int
    samples: int

    def configs(self) -> tuple[ModelConfig, ObjectiveConfig]:
        model = ModelConfig.model_validate({"family": self.family, "channels": self.channels})
        return model, ObjectiveConfig(kld_weight=KLD_WEIGHT[self.family])

    def audio(self) -> torch.Tensor:
        return torch.randn(self.batch, self.samples, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Built:
    """A variant of the step, ready to run."""

    take: Callable[[], object]
    """Takes one optimizer step."""
    parameters: list[torch.nn.Parameter]
    process: subprocess.Popen[str] | None = None
    """Process that the step runs in, unless it is this one; it ends when its input is closed."""


def build_naive(case: Case) -> Built:
    step = NaiveStep(NaiveEncoder(*case.configs()))
    audio = case.audio()
    return Built(lambda: step(audio, KLD_WEIGHT[case.family]), list(step.encoder.parameters()))


def build_naive_plain(case: Case) -> Built:
    """The naive step in a process of its own, in which `malloc` has the C library's settings."""
    child = subprocess.Popen(
        [*this_script(case, torch.get_num_threads()), "--serve-plain"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    requests, answers = child.stdin, child.stdout

    def take() -> None:
        requests.write("step\n")
        requests.flush()
        if not answers.readline():
            raise RuntimeError(f"the process of the plain naive step ended with {child.wait()}")

    return Built(take, [], child)


def serve_plain(case: Case) -> None:
    """Take a naive step for every line of the standard input, and print a line after it."""
    built = build_naive(case)
    for _ in sys.stdin:
        built.take()
        print("done", flush=True)


def this_script(case: Case, threads: int) -> list[str]:
    """Command line that runs this script on `case`."""
    command = [sys.executable, str(Path(__file__).resolve()), "--families", case.family]
    for name in ("channels", "batch", "samples"):
        command += [f"--{name}", str(getattr(case, name))]
    return [*command, "--threads", str(threads)]


def build_greedy(
    case: Case,
    modules: Sequence[int],
    *,
    device: str = "cpu",
    autocast: torch.dtype | None = None,
    **options: bool,
) -> Built:
    """Our step on `modules`, with the modules before them frozen; `options` are those of `make_passes`."""
    encoder = build_encoder(*case.configs(), 0).to(device).eval()
    for m in modules:
        encoder.module(m).train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-4, fused=True)
    passes = make_passes(encoder, modules, ALONE, autocast=autocast, **options)
    step = GreedyStep(
        encoder, passes, optimizer, seed=0, share=Share.of_each(ALONE), clip_norm=0.0, autocast=autocast
    )
    audio, number = case.audio().to(device), count()
    trained = [p for m in modules for p in encoder.module(m).parameters()]
    return Built(lambda: step([audio], next(number), KLD_WEIGHT[case.family], measure=False), trained)


@dataclass(frozen=True)
class Variant:
    """A way to take a step; another schedule is another entry of `variants`."""

    build: Callable[[Case], Built]
    modules: tuple[int, ...]
    """Modules that the step trains. Useful work is theirs, and the encoding by the modules before them."""
    timed_only: bool = False
    """Whether memory is not measured."""
    whole: bool = True
    """Whether the step does all of the naive step's work, so that their times compare."""


def variants(case: Case) -> dict[str, Variant]:
    """Variants of the step by name, the naive one first."""
    everything = tuple(range(case.configs()[0].num_modules))
    by_name = {
        "naive": Variant(build_naive, everything),
        PLAIN: Variant(build_naive_plain, everything, timed_only=True),
        "joint": Variant(lambda c: build_greedy(c, everything), everything),
    }
    if len(everything) > 1:
        for m in everything:
            build = partial(build_greedy, modules=(m,))
            by_name[f"sequential {m}"] = Variant(build, (m,), whole=False)
    return by_name


def useful_flops(case: Case, modules: Sequence[int]) -> int:
    """FLOPs that the naive step spends on `modules`, with the modules before them frozen."""
    counted = count_flops(*case.configs(), case.batch, case.samples)
    return sum(counted[m].train for m in modules) + sum(of.encode for of in counted[: modules[0]])


def measure_times(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Time every variant's step and a matrix product, interleaved; one row of results for each variant."""
    product, product_flops = sgemm()
    compared = variants(case)
    built = {name: variant.build(case) for name, variant in compared.items()}
    actions: dict[str, Callable[[], object]] = {name: of.take for name, of in built.items()}
    try:
        median = medians(interleaved({"sgemm": product, **actions}, rounds))
    finally:
        for of in built.values():
            if of.process is not None:
                of.process.communicate()
    rate = product_flops / median["sgemm"]
    rows = []
    for name, variant in compared.items():
        flops = useful_flops(case, variant.modules)
        rows.append(
            {
                "family": case.family,
                "variant": name,
                "seconds": median[name],
                "crops_per_s": case.batch / median[name],
                "speedup": median["naive"] / median[name] if variant.whole else None,
                "speedup_on_plain": median[PLAIN] / median[name] if variant.whole else None,
                "gflop": flops / 1e9,
                "gflop_per_s": flops / median[name] / 1e9,
                "sgemm_gflop_per_s": rate / 1e9,
                "share_of_sgemm": flops / median[name] / rate,
            }
        )
    return rows


def measure_memory(case: Case, variant: str, threads: int) -> float:
    """Peak memory of the variant's step in MiB, less weights, gradients and optimizer state."""
    command = [*this_script(case, threads), "--memory-of", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["mib_above_idle"])


def peak_above_idle(built: Built) -> float:
    """Peak memory of a step in this process in MiB, less weights, gradients and optimizer state.

    The first step allocates the optimizer's state, and is not measured.
    """
    built.take()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that the first step freed does not belong to the idle process
    freed_gradients = sum(p.numel() * p.element_size() for p in built.parameters if p.grad is None)
    idle = _status("VmRSS") + freed_gradients
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        built.take()
        peak = _status("VmHWM")
    except (
        OSError
    ):  # may not be written here: take the peak since the process started, which is hardly higher
        built.take()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (peak - idle) / MIB


def _status(key: str) -> int:
    """Bytes in a line of /proc/self/status, such as "VmHWM:   81236 kB"."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def compare(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure time and memory of every variant of every family, and print them."""
    rows = []
    for family in args.families:
        case = Case(family, args.channels, args.batch, args.samples)
        for row in measure_times(case, args.steps):
            if not args.no_memory and not variants(case)[row["variant"]].timed_only:
                row["mib_above_idle"] = measure_memory(case, row["variant"], args.threads)
            rows.append(row)
    naive_mib = {row["family"]: row.get("mib_above_idle") for row in rows if row["variant"] == "naive"}
    print(
        f"\n{args.batch} crops of {args.samples} samples, {args.channels} channels; median of {args.steps} rounds"
    )
    print_table(
        [
            "family",
            "step",
            "s/step",
            "crops/s",
            "x naive",
            "x plain",
            "GFLOP",
            "GFLOP/s",
            "of sgemm",
            "MiB",
            "MiB, of naive",
        ],
        [
            (
                row["family"],
                row["variant"],
                row["seconds"],
                row["crops_per_s"],
                row["speedup"],
                row["speedup_on_plain"],
                row["gflop"],
                row["gflop_per_s"],
                f"{row['share_of_sgemm']:.0%} of {row['sgemm_gflop_per_s']:.0f}",
                row.get("mib_above_idle"),
                row["mib_above_idle"] / naive_mib[row["family"]] if "mib_above_idle" in row else None,
            )
            for row in rows
        ],
    )
    print(LEGEND)
    return rows


def cost_by_batch(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print the joint step's milliseconds for a crop, by batch size."""
    cases = {f"{b}": Case(args.families[0], args.channels, b, args.samples) for b in args.batches}
    median = medians(
        interleaved({b: variants(case)["joint"].build(case).take for b, case in cases.items()}, args.steps)
    )
    rows = [
        {"batch": case.batch, "seconds": median[b], "ms_per_crop": 1000 * median[b] / case.batch}
        for b, case in cases.items()
    ]
    first = rows[0]["ms_per_crop"]
    print(f"\njoint step of family {args.families[0]} by batch size; median of {args.steps} rounds")
    print_table(
        ["batch", "s/step", "ms/crop", "of first batch's"],
        [(r["batch"], r["seconds"], r["ms_per_crop"], r["ms_per_crop"] / first) for r in rows],
    )
    return rows


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--families", nargs="+", choices=FAMILIES, default=["sim"], help="model.family")
    options.add_argument("--channels", type=int, default=512, help="channels of every convolution")
    options.add_argument("--batch", type=int, default=8, help="crops a step")
    options.add_argument("--samples", type=int, default=20_480, help="samples a crop")
    options.add_argument("--steps", type=int, default=3, help="timed steps of each variant")
    options.add_argument(
        "--batches",
        type=int,
        nargs="*",
        default=[],
        help="also measure milliseconds per crop at these batch sizes",
    )
    options.add_argument("--no-memory", action="store_true", help="do not measure memory")
    options.add_argument("--memory-of", help=argparse.SUPPRESS)
    options.add_argument("--serve-plain", action="store_true", help=argparse.SUPPRESS)
    args = options.parse_args(argv)
    if args.serve_plain:
        torch.set_num_threads(args.threads)
        serve_plain(Case(args.families[0], args.channels, args.batch, args.samples))
        return 0
    keep_freed_memory()  # as training does on CPUs; the naive step gains from it as well
    if args.memory_of:
        if args.threads:
            torch.set_num_threads(args.threads)
        case = Case(args.families[0], args.channels, args.batch, args.samples)
        print(json.dumps({"mib_above_idle": peak_above_idle(variants(case)[args.memory_of].build(case))}))
        return 0
    start(args)
    results = {"steps": compare(args)}
    if args.batches:
        results["batches"] = cost_by_batch(args)
    write_json(args.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
