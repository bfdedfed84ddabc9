"""Measure the speedup of a second worker here, and predict the efficiency of many GPUs from this machine's costs.

Measured: the joint step with one rank and with two (gloo, one thread each, the same batch a rank), each module's
forward and backward, all-reduces of growing size, and the stream. Predicted: weak-scaling efficiency of the schedules
(ideal time over predicted time), from a timeline in which module m's all-reduce runs beside the work of the modules
after it. Assumptions are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from common import parser, print_machine, print_table, write_json
from cost_model import Costs, Link, joint, joint_s, parallel, sequential_s

from tests.gloo_world import leave_world
from vgim.config.schema import DataConfig, ModelConfig, ObjectiveConfig, SyntheticConfig
from vgim.data.shards.embedded import prepare_embedded
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream.readers import read_in_process
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.stack import Encoder, build_encoder
from vgim.storage import Location
from vgim.training.ddp import DataParallelModules
from vgim.training.passes import EagerPasses
from vgim.training.share import Share
from vgim.training.step import GreedyStep, frozen_latents

KLD_WEIGHT = 0.001
REDUCED_MIB = (0.25, 1.0, 4.0, 16.0)
WORKERS = (1, 2, 8, 64, 512)
DEPTHS, WIDTHS = (8, 16, 32), (1, 4, 32)
"""Modules of deep stacks, and factors on their channels."""
GROUP = 8
"""GPUs in a node. All-reduces within a node are assumed to cost nothing beside those between nodes."""


def build(args: argparse.Namespace, extra_modules: int = 0) -> tuple[Encoder, torch.optim.Optimizer]:
    units = min(256, args.channels)
    model = ModelConfig(channels=args.channels, gru_units=units, extra_modules=extra_modules)
    encoder = build_encoder(model, ObjectiveConfig(kld_weight=KLD_WEIGHT), 0).train()
    return encoder, torch.optim.Adam(encoder.parameters(), lr=2e-4, fused=True)


def step_times(args: argparse.Namespace, group: RankGroup) -> list[float]:
    """Seconds of each of `args.steps` joint steps, after one that is not counted."""
    encoder, optimizer = build(args)
    data_parallel = DataParallelModules(encoder, range(len(encoder)), group)
    passes = EagerPasses(encoder, data_parallel, None)
    take = GreedyStep(
        encoder, passes, optimizer, seed=0, share=Share.of_each(group), clip_norm=0.0, autocast=None
    )
    audio = 0.1 * torch.randn(args.batch, args.samples, generator=torch.Generator().manual_seed(group.rank))
    seconds = []
    for step in range(args.steps + 1):
        began = time.perf_counter()
        take([audio], step, KLD_WEIGHT, measure=False)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def measure_rank(rank: int, folder: str, args: argparse.Namespace) -> None:
    """Measure as one of two ranks: steps of rank 0 alone, then of both, and all-reduces."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {}
    if rank == 0:  # the other rank sleeps until both meet
        seconds["alone"] = step_times(args, ALONE)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    seconds["step"] = step_times(args, RankGroup.of_world())
    for mib in REDUCED_MIB:
        buffer = torch.zeros(int(mib * 2**18))
        seconds[f"reduce {mib}"] = []
        for _ in range(args.steps + 1):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(buffer)
            seconds[f"reduce {mib}"].append(time.perf_counter() - began)
    if rank == 0:
        torch.save(seconds, f"{folder}/seconds.pt")
    leave_world()


def measure_round(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds that rank 0 measured in a round, by name."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(measure_rank, (folder, args), nprocs=2)
        seconds: dict[str, list[float]] = torch.load(f"{folder}/seconds.pt")
        return seconds


def module_costs(args: argparse.Namespace, step_s: float, extra_modules: int = 0) -> Costs:
    """Time forward, backward and frozen pass of each module by itself, on one thread."""
    torch.set_num_threads(1)
    encoder, _ = build(args, extra_modules)
    audio = 0.1 * torch.randn(args.batch, args.samples)
    forward, backward, frozen, sizes, latents = [], [], [], [], []
    x = audio
    for m in range(len(encoder)):
        module = encoder.module(m)
        key = DrawKey(0, 0, 0)
        forwards, backwards = [], []
        for _ in range(args.steps + 1):
            began = time.perf_counter()
            out = module(x, module.draw(x, key), KLD_WEIGHT)
            middle = time.perf_counter()
            out.loss.backward()
            backwards.append(time.perf_counter() - middle)
            forwards.append(middle - began)
            module.zero_grad()
        module.eval()
        began = time.perf_counter()
        frozen_latents(encoder, m, x, key, None)
        frozen.append(time.perf_counter() - began)
        module.train()
        forward.append(statistics.median(forwards[1:]))
        backward.append(statistics.median(backwards[1:]))
        sizes.append(sum(p.numel() * 4 for p in module.parameters()))
        x = out.latents
        latents.append(x.numel() * x.element_size())
    other = max(0.0, step_s - sum(forward) - sum(backward))
    return Costs(tuple(forward), tuple(backward), tuple(frozen), tuple(sizes), other, tuple(latents))


def fit_link(seconds: dict[str, list[float]]) -> Link:
    """Bandwidth and latency of two ranks' all-reduces, fitted to their times by least squares."""
    sizes = torch.tensor([mib * 2**20 for mib in REDUCED_MIB], dtype=torch.double)
    times = torch.tensor([statistics.median(seconds[f"reduce {mib}"][1:]) for mib in REDUCED_MIB]).double()
    design = torch.stack([sizes, torch.ones_like(sizes)], 1)
    slope, start = torch.linalg.lstsq(design, times[:, None]).solution[:, 0].tolist()
    return Link(1 / max(slope, 1e-15), max(start, 0.0) / 2)  # two ranks: 2(n-1)/n = 1, and two hops


def stream_rate(args: argparse.Namespace) -> float:
    """Crops/s that the stream reads from PCM16 shards on one core."""
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        prepare_embedded(shards, SyntheticConfig(speakers=4, utterances=args.utterances))
        config = DataConfig(shards=str(shards), crop_samples=args.samples)
        stream = CropStream(
            Location(shards),
            read_manifest(shards),
            config,
            split="train",
            rank_slice=RankSlice(0, 1, args.batch),
            seed=0,
            reader=read_in_process,
        )
        began, num_crops = time.perf_counter(), 0
        for batch in stream.train_batches(0, 0, epochs=20):
            num_crops += len(batch.audio)
        return num_crops / (time.perf_counter() - began)


def predictions(costs: Costs, link: Link) -> list[Sequence[object]]:
    """Efficiency of each schedule for each number of workers: the ideal time over the predicted time."""
    alone = [schedule(costs, link, 1) for schedule in (joint_s, sequential_s)]
    rows: list[Sequence[object]] = []
    for workers in WORKERS:
        nodes = max(1, workers // GROUP)
        staged = parallel(costs, link, workers, GROUP) if workers > 1 else None
        rows.append(
            (
                str(workers),
                alone[0] / joint_s(costs, link, nodes),
                alone[1] / sequential_s(costs, link, nodes),
                None if staged is None else alone[0] / staged.step_s,
                "" if staged is None else staged.stages,
            )
        )
    return rows


def deep_predictions(costs: Costs, link: Link) -> list[Sequence[object]]:
    """Step and memory of deep and wide stacks under joint and parallel, on one GPU for each module."""
    rows: list[Sequence[object]] = []
    for width in WIDTHS:
        for num_modules in DEPTHS:
            stack = costs.deeper(num_modules, len(costs.forward_s) - 2).wider(width)
            whole = joint(stack, link, num_modules, max(1, num_modules // GROUP))
            staged = parallel(stack, link, num_modules, GROUP)
            rows.append(
                (
                    str(num_modules),
                    str(width),
                    whole.step_s,
                    staged.step_s,
                    whole.step_s / staged.step_s,
                    whole.memory_bytes / 2**30,
                    staged.memory_bytes / 2**30,
                )
            )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("--channels", type=int, default=128, help="channels of every convolution")
    made.add_argument("--batch", type=int, default=8, help="crops a step of one worker")
    made.add_argument("--samples", type=int, default=20_480, help="samples in a crop")
    made.add_argument("--steps", type=int, default=8, help="timed steps in a round")
    made.add_argument("--rounds", type=int, default=3, help="interleaved rounds of one rank and of two")
    made.add_argument("--utterances", type=int, default=120, help="utterances of the corpus that is streamed")
    made.add_argument(
        "--speedup", type=float, default=100.0, help="assumed speedup of a GPU over one core here"
    )
    made.add_argument("--gigabits", type=float, default=100.0, help="assumed Gbit/s between nodes")
    made.add_argument(
        "--latency-us", type=float, default=20.0, help="assumed microseconds of a hop between nodes"
    )
    args = made.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    print_machine()
    one, two, reduces = [], [], {}
    for _ in range(args.rounds):
        reduces = measure_round(args)
        one += reduces["alone"]
        two += reduces["step"]
    step_1, step_2 = statistics.median(one), statistics.median(two)
    costs = module_costs(args, step_1)
    here = fit_link(reduces)
    rate = stream_rate(args)
    print_table(
        ("measured here", "s/step", "crops/s", "efficiency"),
        [
            ("1 worker, 1 thread", step_1, args.batch / step_1, 1.0),
            ("2 workers, 1 thread each", step_2, 2 * args.batch / step_2, step_1 / step_2),
            ("2 workers, predicted", joint_s(costs, here, 2), None, costs.step_s / joint_s(costs, here, 2)),
        ],
    )
    print_table(
        ("module", "forward, s", "backward, s", "frozen, s", "gradients, MiB"),
        [
            (str(m), f, b, z, size / 2**20)
            for m, (f, b, z, size) in enumerate(
                zip(costs.forward_s, costs.backward_s, costs.frozen_s, costs.gradient_bytes, strict=True)
            )
        ],
    )
    print(
        f"all-reduce here: {here.bytes_per_s / 2**30:.2f} GiB/s and {here.latency_s * 1e6:.0f} us a hop; "
        f"the stream: {rate:.0f} crops/s a core"
    )
    between = Link(args.gigabits * 1e9 / 8, args.latency_us * 1e-6)
    fast = costs.faster(args.speedup)
    rows = predictions(fast, between)
    print_table(
        ("GPUs, efficiency of", "joint", "sequential", "parallel", "its stages: modules x ranks"), rows
    )
    deep = deep_predictions(module_costs(args, step_1, extra_modules=1).faster(args.speedup), between)
    print_table(
        (
            "modules = GPUs",
            "x channels",
            "joint, s/step",
            "parallel, s/step",
            "joint / parallel",
            "joint, GiB a GPU",
            "parallel, GiB a GPU",
        ),
        deep,
    )
    per_gpu = args.batch * args.speedup / step_1
    print(
        f"assumed: a GPU is {args.speedup:g}x one core here in every part of the step; nodes of {GROUP} GPUs, free "
        f"all-reduces inside, {args.gigabits:g} Gbit/s and {args.latency_us:g} us a hop between; the batch a GPU is "
        "that of a worker here; no stragglers; a micro-batch a GPU in each step. Such "
        f"a GPU takes {per_gpu:.0f} crops/s, that is {per_gpu / rate:.2f} cores of reading."
    )
    write_json(
        args.json,
        {
            "step_s": [step_1, step_2],
            "efficiency": step_1 / step_2,
            "costs": vars(costs),
            "link": vars(here),
            "stream_crops_per_s": rate,
            "predictions": [list(row) for row in rows],
            "deep": [list(row) for row in deep],
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
