"""The greedy step beside a naive one: seconds, crops/s, memory, and GFLOP/s against the machine's own sgemm.

Useful work is what the naive step's FLOPs count to, the same for all variants. Times are medians of interleaved
rounds (A B A B, sgemm among them), so that ratios hold on a machine that others use as well. Memory is what a
process of its own needs above weights, gradients and optimizer state.
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
from vgim.train.malloc import keep_freed_memory
from vgim.train.passes import make_passes
from vgim.train.step import GreedyStep

FAMILIES = ("sim", "gim", "cpc")
KLD_WEIGHT = {"sim": 0.001, "gim": 0.0, "cpc": 0.0}
MIB = 2**20
PLAIN = "naive, plain malloc"


@dataclass(frozen=True)
class Case:
    """What is trained, on how much."""

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
    """A variant, ready: one optimizer step a call."""

    take: Callable[[], object]
    parameters: list[torch.nn.Parameter]
    process: subprocess.Popen[str] | None = None
    """Where it runs, if not here; it ends when its input is closed."""


def build_naive(case: Case) -> Built:
    step = NaiveStep(NaiveEncoder(*case.configs()))
    audio = case.audio()
    return Built(lambda: step(audio, KLD_WEIGHT[case.family]), list(step.encoder.parameters()))


def build_naive_plain(case: Case) -> Built:
    """The naive step in a process of its own, whose allocator is as the C library sets it."""
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
    """Take a naive step for every line of the standard input, and answer with a line."""
    built = build_naive(case)
    for _ in sys.stdin:
        built.take()
        print("done", flush=True)


def this_script(case: Case, threads: int) -> list[str]:
    """The command that runs this script on `case`."""
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
    **how: bool,
) -> Built:
    """Our step, training `modules` on those before them frozen; `how` goes to `make_passes`."""
    encoder = build_encoder(*case.configs(), 0).to(device).eval()
    for m in modules:
        encoder.module(m).train()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-4, fused=True)
    passes = make_passes(encoder, modules, ALONE, autocast=autocast, **how)
    step = GreedyStep(encoder, passes, optimizer, seed=0, rank=0, clip_norm=0.0, autocast=autocast)
    audio, number = case.audio().to(device), count()
    trained = [p for m in modules for p in encoder.module(m).parameters()]
    return Built(lambda: step([audio], next(number), KLD_WEIGHT[case.family], measure=False), trained)


@dataclass(frozen=True)
class Variant:
    """A way to take a step; a schedule is one more entry of `variants`."""

    build: Callable[[Case], Built]
    modules: tuple[int, ...]
    """Modules that it trains, whose work counts besides passing the batch through those before."""
    timed_only: bool = False
    """Whether its memory is left out."""
    whole: bool = True
    """Whether its step does all of the naive step's work, so that a speed-up has a meaning."""


def variants(case: Case) -> dict[str, Variant]:
    """By name; the naive one first."""
    everything = tuple(range(case.configs()[0].num_modules))
    found = {
        "naive": Variant(build_naive, everything),
        PLAIN: Variant(build_naive_plain, everything, timed_only=True),
        "joint": Variant(lambda c: build_greedy(c, everything), everything),
    }
    if len(everything) > 1:
        for m in everything:
            build = partial(build_greedy, modules=(m,))
            found[f"sequential {m}"] = Variant(build, (m,), whole=False)
    return found


def useful_flops(case: Case, modules: Sequence[int]) -> int:
    """FLOPs that a step on `modules` has to spend, by the naive formulation."""
    counted = count_flops(*case.configs(), case.batch, case.samples)
    return sum(counted[m].train for m in modules) + sum(of.encode for of in counted[: modules[0]])


def measure_times(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Each variant's step and sgemm, interleaved."""
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
    """MiB that the variant's step needs at its peak above weights, gradients and optimizer state."""
    command = [*this_script(case, threads), "--memory-of", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["mib_above_idle"])


def peak_above_idle(built: Built) -> float:
    """MiB, in this process. The first step puts the optimizer's state in place."""
    built.take()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the first step freed is not part of being idle
    freed_gradients = sum(p.numel() * p.element_size() for p in built.parameters if p.grad is None)
    idle = _status("VmRSS") + freed_gradients
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        built.take()
        peak = _status("VmHWM")
    except OSError:  # not ours to write: the peak of the whole process, to which building it adds little
        built.take()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (peak - idle) / MIB


def _status(key: str) -> int:
    """Bytes of a line of /proc/self/status such as "VmHWM:   81236 kB"."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def compare(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All families and variants: times, then memory."""
    rows = []
    for family in args.families:
        case = Case(family, args.channels, args.batch, args.samples)
        for row in measure_times(case, args.steps):
            if not args.no_memory and not variants(case)[row["variant"]].timed_only:
                row["mib_above_idle"] = measure_memory(case, row["variant"], args.threads)
            rows.append(row)
    naive_mib = {row["family"]: row.get("mib_above_idle") for row in rows if row["variant"] == "naive"}
    print(
        f"\nB={args.batch}, {args.samples} samples, {args.channels} channels; median of {args.steps} rounds"
    )
    print_table(
        [
            "family",
            "step",
            "s",
            "crops/s",
            "x naive",
            "x plain",
            "GFLOP",
            "GFLOP/s",
            "of sgemm",
            "MiB",
            "of naive",
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
    return rows


def cost_by_batch(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds an utterance in the joint step, by batch size."""
    cases = {f"{b}": Case(args.families[0], args.channels, b, args.samples) for b in args.batches}
    median = medians(
        interleaved({b: variants(case)["joint"].build(case).take for b, case in cases.items()}, args.steps)
    )
    rows = [
        {"batch": case.batch, "seconds": median[b], "ms_per_utterance": 1000 * median[b] / case.batch}
        for b, case in cases.items()
    ]
    first = rows[0]["ms_per_utterance"]
    print(f"\njoint, {args.families[0]}, by batch size; median of {args.steps} rounds")
    print_table(
        ["B", "s", "ms/utt", "of the first"],
        [(r["batch"], r["seconds"], r["ms_per_utterance"], r["ms_per_utterance"] / first) for r in rows],
    )
    return rows


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--families", nargs="+", choices=FAMILIES, default=["sim"])
    options.add_argument("--channels", type=int, default=512)
    options.add_argument("--batch", type=int, default=8, help="crops a step")
    options.add_argument("--samples", type=int, default=20_480, help="samples a crop")
    options.add_argument("--steps", type=int, default=3, help="timed rounds")
    options.add_argument(
        "--batches", type=int, nargs="*", default=[], help="also the cost per utterance at these B"
    )
    options.add_argument("--no-memory", action="store_true", help="leave memory out")
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
    figures = {"steps": compare(args)}
    if args.batches:
        figures["batches"] = cost_by_batch(args)
    write_json(args.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
