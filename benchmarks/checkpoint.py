"""Compare checkpoints that training waits for with checkpoints that are written in the background.

Each round writes one checkpoint in each way on each storage, interleaved: on a disk, and on storage each of whose calls
takes seconds. After a checkpoint in the background, steps are taken until it is on storage. The time that training
gives to a checkpoint is the time that it waits, and at most the processor time of the threads that write: they share
the processors with the step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import parser, print_table, start, write_json

import vgim
from tests.faulty_storage import OPERATIONS, SCHEME, Faults, faulty_storage
from vgim.config import RunConfig
from vgim.config.schema import DataConfig, ModelConfig, ObjectiveConfig
from vgim.model.rank_group import ALONE
from vgim.model.stack import build_encoder
from vgim.runs.keep import prune_checkpoints
from vgim.runs.metrics_writer import MetricsWriter
from vgim.runs.training_state import TrainingState
from vgim.runs.weights import checkpoint_tensors, save_checkpoint
from vgim.storage import Location
from vgim.training.checkpoint_writer import CheckpointWriter
from vgim.training.malloc import keep_freed_memory
from vgim.training.passes import make_passes
from vgim.training.share import Share
from vgim.training.step import GreedyStep

DISK, SLOW = "disk", "slow storage"
CALLS = tuple(name for name in OPERATIONS if name not in ("read", "write"))
"""Operations that wait on slow storage: the bytes themselves pass at once."""
WAITED_FOR, BACKGROUND = "waited for", "in the background"
INTERVAL_S = 60.0
"""Time between two checkpoints for which shares are given."""
COLUMNS = ["storage", "written", "wait, s", "x shorter", "at 1/min", "CPU, s", "with CPU", "on storage, s"]
COLUMNS += ["steps", "x step"]
LEGEND = f"""\
wait: training waits for each checkpoint; x shorter: than the wait for one that is waited for; at 1/min: share of the
time at a checkpoint each {INTERVAL_S:.0f} s; CPU: processor time of the threads that write; with CPU: share of both
together; on storage: time until the checkpoint is complete and older ones are deleted; steps: how many were taken
meanwhile; x step: their median over the median of other steps"""


@dataclass
class Measured:
    """Times of the checkpoints that were written in one way on one storage."""

    waits_s: list[float] = field(default_factory=list)
    """Time that training waited."""
    written_s: list[float] = field(default_factory=list)
    """Time until the checkpoint was on storage."""
    cpu_s: list[float] = field(default_factory=list)
    """Processor time of the threads that wrote, without the wait."""
    steps_s: list[float] = field(default_factory=list)
    """Times of the steps taken while a checkpoint was written."""


class Training:
    """Steps of an encoder on noise, and its checkpoints in one folder for each way and storage."""

    def __init__(self, args: argparse.Namespace) -> None:
        model = ModelConfig(family="sim", channels=args.channels)
        self.config = RunConfig(
            data=DataConfig(shards="none"), model=model, objective=ObjectiveConfig(kld_weight=0.001)
        )
        self.encoder = build_encoder(model, self.config.objective, 0).train()
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=2e-4, fused=True)
        passes = make_passes(self.encoder, range(len(self.encoder)), ALONE, autocast=None)
        share = Share.of_each(ALONE)
        self._step = GreedyStep(
            self.encoder, passes, self.optimizer, seed=0, share=share, clip_norm=0.0, autocast=None
        )
        generator = torch.Generator().manual_seed(0)
        self._audio_BL = torch.randn(args.batch, args.samples, generator=generator)
        self.step = 0

    def take_step(self) -> float:
        """Take a step; returns its seconds."""
        began = time.perf_counter()
        self._step([self._audio_BL], self.step, 0.001, measure=False)
        self.step += 1
        return time.perf_counter() - began

    def tensors(self) -> dict[str, Mapping[str, torch.Tensor]]:
        """What a checkpoint holds, by file."""
        return checkpoint_tensors(self.encoder, self.optimizer)

    def state(self) -> TrainingState:
        """Training state at the current step; the values are of no account."""
        return TrainingState(
            step=self.step,
            epoch=0,
            step_in_epoch=self.step,
            world_size=1,
            batch_size=len(self._audio_BL),
            accumulate=1,
            seed=0,
            data_fingerprint="",
            validation_loss=None,
            vgim_version=vgim.__version__,
            torch_version=torch.__version__,
            files={},
        )


def write_and_wait(training: Training, run: Location, metrics: MetricsWriter, measured: Measured) -> None:
    """Write a checkpoint in the training thread."""
    began, train = time.perf_counter(), training.config.train
    metrics.keep_written()()
    save_checkpoint(run, training.encoder, training.optimizer, training.config, training.state())
    prune_checkpoints(run, keep_last=train.keep_last, keep_best=train.keep_best)
    took_s = time.perf_counter() - began
    measured.waits_s.append(took_s)
    measured.written_s.append(took_s)


def write_beside_steps(
    training: Training, writer: CheckpointWriter, metrics: MetricsWriter, measured: Measured
) -> None:
    """Write a checkpoint in the background, and take steps until it is on storage."""
    state = training.state()
    began = time.perf_counter()
    writer.write(state, training.tensors(), meanwhile=metrics.keep_written())
    measured.waits_s.append(time.perf_counter() - began)
    while writer.written_step < state.step:
        measured.steps_s.append(training.take_step())
        writer.raise_error()
    measured.written_s.append(time.perf_counter() - began)


def write_alone(
    training: Training, writer: CheckpointWriter, metrics: MetricsWriter, measured: Measured
) -> None:
    """Write a checkpoint in the background with nothing beside it, for the processor time of its threads."""
    training.step += 1
    writer.write(training.state(), training.tensors(), meanwhile=metrics.keep_written())
    began = time.process_time()
    writer.wait()
    measured.cpu_s.append(time.process_time() - began)


def compare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure all ways on all storages, and print a table."""
    training = Training(args)
    for _ in range(2):  # the first allocates Adam's moments
        training.take_step()
    measured: dict[tuple[str, str], Measured] = {}
    actions: list[Callable[[], None]] = []
    for storage, root in ((DISK, Location(folder / "disk")), (SLOW, Location(f"{SCHEME}://slow"))):
        for way in (WAITED_FOR, BACKGROUND):
            run = root.child(way.replace(" ", "-"))
            metrics, found = MetricsWriter(run, 0), measured.setdefault((storage, way), Measured())
            if way == WAITED_FOR:
                actions.append(partial(write_and_wait, training, run, metrics, found))
                continue
            writer = CheckpointWriter(run, torch.device("cpu"), training.config)
            writer.write(training.state(), training.tensors())  # allocates the memory of the copy
            writer.wait()
            actions.append(partial(write_beside_steps, training, writer, metrics, found))
            actions.append(partial(write_alone, training, writer, metrics, found))
    idle_s: list[float] = []
    for _ in range(args.rounds):
        for action in actions:
            idle_s.append(training.take_step())
            action()
    step_s = statistics.median(idle_s)
    rows = []
    for (storage, way), found in measured.items():
        wait_s, cpu_s = statistics.median(found.waits_s), statistics.median(found.cpu_s or [0.0])
        waited_for_s = statistics.median(measured[storage, WAITED_FOR].waits_s)
        rows.append(
            {
                "storage": storage,
                "way": way,
                "wait_s": wait_s,
                "times_shorter": waited_for_s / wait_s,
                "wait_share": wait_s / INTERVAL_S,
                "cpu_s": cpu_s,
                "wait_and_cpu_share": (wait_s + cpu_s) / INTERVAL_S,
                "written_s": statistics.median(found.written_s),
                "steps_beside": len(found.steps_s),
                "step_beside_ratio": statistics.median(found.steps_s) / step_s if found.steps_s else None,
            }
        )
    print(
        f"\n{args.channels} channels, a step {step_s:.3g} s, a checkpoint {megabytes(training):.0f} MB; "
        f"medians of {args.rounds} rounds"
    )
    print_table(
        COLUMNS,
        [
            (
                row["storage"],
                row["way"],
                row["wait_s"],
                row["times_shorter"],
                f"{row['wait_share']:.2%}",
                row["cpu_s"],
                f"{row['wait_and_cpu_share']:.2%}",
                row["written_s"],
                row["steps_beside"],
                row["step_beside_ratio"],
            )
            for row in rows
        ],
    )
    print(LEGEND)
    return {"step_s": step_s, "checkpoints": rows}


def megabytes(training: Training) -> float:
    """Size of a checkpoint's tensors."""
    tensors = [*training.encoder.state_dict().values()]
    for kinds in training.optimizer.state_dict()["state"].values():
        tensors += kinds.values()
    return sum(tensor.nbytes for tensor in tensors) / 1e6


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--channels", type=int, default=512, help="channels of every convolution")
    options.add_argument("--batch", type=int, default=8, help="crops a step")
    options.add_argument("--samples", type=int, default=20_480, help="samples a crop")
    options.add_argument("--rounds", type=int, default=3, help="checkpoints of each way on each storage")
    options.add_argument(
        "--latency", type=float, default=2.0, help="seconds of each call of the slow storage"
    )
    options.add_argument("--folder", type=Path, help="folder on the disk; none for a temporary one")
    args = options.parse_args(argv)
    start(args)
    keep_freed_memory()  # as training does on CPUs
    with (
        tempfile.TemporaryDirectory(prefix="vgim-checkpoints-", dir=args.folder) as folder,
        faulty_storage(Path(folder) / "slow", Faults(latency_s=args.latency, slow=CALLS)),
    ):
        results = compare(args, Path(folder))
    write_json(args.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
