"""Compare schedule parallel with joint DDP: the same global batch, the same number of ranks, one thread each.

Both train whole runs on the embedded corpus through the loop of each rank, over gloo, in processes of their own, one
after the other in each round. Measured: seconds a step, bytes that a rank sends, its peak memory, and the time in which
it waits for others, from a trace that Perfetto (https://ui.perfetto.dev) opens (`--trace FILE`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from common import parser, print_machine, print_table, write_json

from tests.gloo_world import leave_world
from vgim.config import RunConfig
from vgim.config.schema import SyntheticConfig
from vgim.data.shards.embedded import prepare_embedded
from vgim.data.stream.readers import read_in_process
from vgim.model.rank_group import RankGroup
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.passes import EagerPasses
from vgim.training.stages.link import StageLink

WARM_UP_STEPS = 2
COMPUTE, INPUT, OUTPUT, GRADIENTS = "module", "wait for latents", "wait to send", "wait for gradients"


@dataclass
class RankResult:
    """What one rank measured in one run."""

    rank: int
    stage: int
    modules: list[int]
    step_s: float
    """Seconds of a step, after the first ones."""
    sent_mb: float
    """Megabytes that the rank sends in a step: latents, and its part of the all-reduces."""
    peak_mib: float
    """Peak resident memory of the process, Python and torch included, in MiB above what it had before the run."""
    idle: float
    """Share of the time in which the rank waits for others."""
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Name, begin and end of everything that was timed, in seconds of the machine's clock."""


class Tracer:
    """Times passes of modules and waits of one rank; a context manager."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, float, float]] = []

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Within the context, passes, links and all-reduces are timed."""
        timed = [
            (EagerPasses, "run_module", lambda self, m, *_, **__: f"{COMPUTE} {m}"),
            (EagerPasses, "wait_for_gradients", lambda *_, **__: GRADIENTS),
            (StageLink, "next_input", lambda *_, **__: INPUT),
            (StageLink, "send", lambda *_, **__: OUTPUT),
        ]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in timed]
        for owner, name, title in timed:
            setattr(owner, name, self._timed(getattr(owner, name), title))
        try:
            yield
        finally:
            for owner, name, method in before:
                setattr(owner, name, method)

    def _timed(self, method: Callable[..., Any], title: Callable[..., str]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = method(*args, **options)
            self.spans.append((title(*args, **options), began, time.perf_counter()))
            return result

        return timed


class TimedTrainer(RankTrainer):
    """A trainer that notes when each step ends."""

    ends: list[float]

    def _between_steps(self, phase: Any, progress: Any) -> Any:
        self.ends = [*getattr(self, "ends", []), time.perf_counter()]
        return super()._between_steps(phase, progress)


def config_of(args: argparse.Namespace, folder: Path, way: str) -> RunConfig:
    """The run of a way: `joint` or `parallel`."""
    train: dict[str, Any] = {
        "batch_size": args.batch,
        "schedule": way,
        "virtual_ranks": args.ranks,
        "max_steps": args.steps + WARM_UP_STEPS,
        "log_every_steps": 5,
        "limit_validation_batches": 1,
    }
    if way == "parallel" and args.placement:
        train["placement"] = json.loads(args.placement)
    model = {
        "channels": args.channels,
        "gru_units": min(256, args.channels),
        "extra_modules": args.extra_modules,
    }
    return RunConfig.model_validate(
        {
            "data": {"shards": str(folder / "shards"), "crop_samples": args.samples, "shuffle_window": 32},
            "model": model,
            "objective": {"kld_weight": 0.001},
            "train": train,
            "cluster": {"workers": args.ranks, "device": "cpu", "threads_per_worker": 1},
            "storage": {"root": str(folder / "runs"), "name": way},
        }
    )


def run_rank(rank: int, folder: str, config: RunConfig, out: str) -> None:
    """Train a run as one of its ranks, and save what it measured."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{out}/meet", rank=rank, world_size=config.cluster.max_workers)
    worker = Worker(RankGroup.of_world(), torch.device("cpu"), read_in_process, lambda *_: None)
    before_mib = start_peak()
    tracer = Tracer()
    with tracer.patched():
        trainer = TimedTrainer(TrainJob(config=config, run=f"{out}/run", learner=GreedyLearner), worker)
        trainer.run()
    peak_mib = memory_mib("VmHWM") - before_mib
    torch.save(asdict(measured(trainer, tracer, peak_mib)), f"{out}/rank{rank}.pt")
    leave_world()


def start_peak() -> float:
    """Let the peak of this process's memory start anew; returns its memory, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mib("VmRSS")


def memory_mib(name: str) -> float:
    """A size in this process's status, in MiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def measured(trainer: TimedTrainer, tracer: Tracer, peak_mib: float) -> RankResult:
    """What a rank's run gave."""
    stages = trainer.stages
    modules = list(stages.mesh.stage.modules if stages else trainer.config.trained_modules)
    group = trainer.share.group
    network = trainer.learner.network
    owned = [p for name, p in network.named_parameters() if trainer._owns(name)]
    gradient_bytes = sum(p.numel() * p.element_size() for p in owned)
    all_reduced = 2 * (group.size - 1) / group.size * gradient_bytes
    latents = 0.0
    if stages and not stages.mesh.is_last:
        frames = network.module_frames(trainer.config.data.crop_samples)[modules[-1]]
        channels = network.module(modules[-1]).spec.channels_out
        latents = trainer.config.train.batch_size * len(trainer.share.virtual_ranks) * frames * channels * 4.0
    begin, end = trainer.ends[WARM_UP_STEPS - 1], trainer.ends[-1]
    steps = len(trainer.ends) - WARM_UP_STEPS
    spans = [span for span in tracer.spans if begin <= span[1] and span[2] <= end]
    waited = sum(b - a for name, a, b in spans if not name.startswith(COMPUTE))
    return RankResult(
        rank=trainer.worker.group.rank,
        stage=stages.mesh.number if stages else 0,
        modules=modules,
        step_s=(end - begin) / steps,
        sent_mb=(all_reduced + latents) / 1e6,
        peak_mib=peak_mib,
        idle=waited / (end - begin),
        spans=spans,
    )


def measure(args: argparse.Namespace, folder: Path, way: str) -> list[RankResult]:
    """Train one run, with a process for each rank."""
    config = config_of(args, folder, way)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        mp.spawn(run_rank, (str(folder), config, out), nprocs=args.ranks)
        found = [RankResult(**torch.load(f"{out}/rank{rank}.pt")) for rank in range(args.ranks)]
    return sorted(found, key=lambda result: (result.stage, result.rank))


def write_trace(path: str, results: dict[str, list[RankResult]]) -> None:
    """Write the last round's runs in the format of Chrome's traces, each as a process with a track for each rank."""
    events: list[dict[str, Any]] = []
    for process, (way, ranks) in enumerate(results.items()):
        start = min(begin for result in ranks for _, begin, _ in result.spans)
        events.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": way}})
        for result in ranks:
            name = f"rank {result.rank}, stage {result.stage}, modules {result.modules}"
            track = {"pid": process, "tid": result.rank}
            events.append({"ph": "M", "name": "thread_name", **track, "args": {"name": name}})
            events += [
                {"ph": "X", "name": span, "ts": (a - start) * 1e6, "dur": (b - a) * 1e6, **track}
                for span, a, b in result.spans
            ]
    Path(path).write_text(json.dumps({"traceEvents": events}))


def main(argv: Sequence[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument(
        "--ranks", type=int, default=2, help="ranks of either schedule, which are its virtual ranks"
    )
    made.add_argument("--placement", default="", help="modules of each stage as JSON; empty balances them")
    made.add_argument("--channels", type=int, default=128, help="channels of every convolution")
    made.add_argument("--extra-modules", type=int, default=0, help="further modules of stride 1")
    made.add_argument("--batch", type=int, default=8, help="crops of a virtual rank in a step")
    made.add_argument("--samples", type=int, default=20_480, help="samples in a crop")
    made.add_argument("--steps", type=int, default=12, help="timed steps of a run")
    made.add_argument("--rounds", type=int, default=3, help="rounds of one run of each schedule")
    made.add_argument("--trace", metavar="FILE", help="write the last round as a trace for Perfetto")
    args = made.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    print_machine()
    ways = ("joint", "parallel")
    rounds: dict[str, list[list[RankResult]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        prepare_embedded(Path(folder, "shards"), SyntheticConfig(speakers=4, utterances=240))
        for _ in range(args.rounds):
            for way in ways:
                rounds[way].append(measure(args, Path(folder), way))
    # A step is over when its last stage has done it; in steady state all stages have one pace.
    steps = {way: [max(r.step_s for r in ranks) for ranks in found] for way, found in rounds.items()}
    joint_s = statistics.median(steps["joint"])
    print_table(
        ("schedule", "s/step", "crops/s", "speed against joint", "lowest and highest"),
        [
            (
                way,
                statistics.median(steps[way]),
                args.batch * args.ranks / statistics.median(steps[way]),
                joint_s / statistics.median(steps[way]),
                _range([a / b for a, b in zip(steps["joint"], steps[way], strict=True)]),
            )
            for way in ways
        ],
    )
    latest = {way: found[-1] for way, found in rounds.items()}
    print_table(
        ("rank of", "stage", "modules", "MB sent a step", "peak MiB", "waits for others, %"),
        [
            (
                way,
                str(result.stage),
                " ".join(map(str, result.modules)),
                result.sent_mb,
                result.peak_mib,
                100 * result.idle,
            )
            for way, ranks in latest.items()
            for result in ranks
        ],
    )
    if args.trace:
        write_trace(args.trace, latest)
    write_json(
        args.json,
        {
            "steps_s": steps,
            "ranks": {
                way: [
                    {k: v for k, v in asdict(result).items() if k != "spans"}
                    for ranks in found
                    for result in ranks
                ]
                for way, found in rounds.items()
            },
        },
    )
    return 0


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    sys.exit(main())
