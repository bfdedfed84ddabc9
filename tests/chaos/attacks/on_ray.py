"""A few attacks on workers of a real Ray, in processes that are not forked; they need a minute each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.arena import Arena, Reference, Scenario
from tests.chaos.attacks.kind import Draw, Finding, Kind
from tests.chaos.attacks.signals import CODES
from tests.chaos.digest import differences
from tests.chaos.oracle import ending_complaints, state_complaints, success_complaints
from tests.chaos.process import Outcome

ROOT = Path(__file__).resolve().parents[3]
STEPS = (
    "train.max_steps=40",
    "train.epochs=100",
    "train.limit_train_batches=5",
    "train.limit_validation_batches=1",
    "train.checkpoint_every_steps=10",
    "cluster.start_timeout_s=120",
)
TRAINING = Scenario("train on Ray", "shards", ("train", "tiny.yaml", *STEPS, "cluster.workers=1"))
TIMEOUT_S = 300.0
WORKER = "ray::"


def _start(arena: Arena, name: str) -> subprocess.Popen[bytes]:
    folder = arena.root / "output"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VGIM_HOME": str(arena.root / "home")}
    command = [sys.executable, "-m", "vgim", *TRAINING.command]
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(
            command, cwd=arena.case, env=environment, stdout=out, stderr=err, start_new_session=True
        )


def _end(arena: Arena, process: subprocess.Popen[bytes], name: str, began: float) -> Outcome:
    stopped = ""
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        stopped = f"still running after {TIMEOUT_S:.0f} s"
        process.kill()
        process.wait()
    folder = arena.root / "output"
    texts = [(folder / f"{name}.{kind}").read_text(errors="replace") for kind in ("out", "err")]
    return Outcome(process.returncode, texts[0], texts[1], time.monotonic() - began, stopped)


def _run(arena: Arena, name: str) -> Outcome:
    began = time.monotonic()
    return _end(arena, _start(arena, name), name, began)


def _wait_for_step(arena: Arena, process: subprocess.Popen[bytes], step: int) -> None:
    """Wait until a step is in the run's records, or the process has ended."""
    metrics = arena.case / "runs" / "run" / "metrics.jsonl"
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        lines = metrics.read_text().split("\n")[:-1] if metrics.exists() else []
        records = [json.loads(line) for line in lines]
        if any(record["kind"] == "train" and record["step"] >= step for record in records):
            return
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _workers(pid: int) -> list[int]:
    found = []
    for child in _children(pid):
        try:
            command = (
                Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue
        if command.startswith(WORKER) and "TrainWorker" in command:
            found.append(child)
    return found


def _reference(arena: Arena) -> Reference:
    if TRAINING.name not in arena.references:
        arena.fresh(TRAINING.part)
        outcome = _run(arena, "reference")
        if outcome.code:
            raise RuntimeError(f"undisturbed, {TRAINING.name} ends with {outcome.code}: {outcome.text}")
        arena.references[TRAINING.name] = Reference(outcome.seconds, (), arena.results(TRAINING), outcome.out)
    return arena.references[TRAINING.name]


def disturb(arena: Arena, draw: Draw, how: str) -> Finding:
    """Disturb a run on Ray at a step; the same command must then end as if nothing had happened."""
    reference, rng = _reference(arena), draw.random
    arena.fresh(TRAINING.part)
    step, began = rng.randrange(2, 30), time.monotonic()
    process = _start(arena, "command")
    _wait_for_step(arena, process, step)
    sent = signal.SIGKILL
    if how == "worker":
        for worker in _workers(process.pid)[:1]:
            os.kill(worker, sent)
    else:
        sent = rng.choice(list(CODES)) if how == "signal" else signal.SIGKILL
        process.send_signal(sent)
    outcome = _end(arena, process, "command", began)
    complaints = ending_complaints(outcome, also=(CODES.get(sent, -sent),) if how != "worker" else ())
    if how != "driver":
        complaints += state_complaints(arena.case)
    again = _run(arena, "again")
    arena.slowest_s = max(arena.slowest_s, again.seconds)
    complaints += success_complaints(again) or differences(reference.results, arena.results(TRAINING))
    target = "worker" if how == "worker" else "driver"
    return Finding(f"train on Ray: {sent.name} to the {target} at step {step}", tuple(complaints))


def signal_driver(arena: Arena, draw: Draw) -> Finding:
    """Send SIGTERM, SIGINT or SIGHUP to the driver."""
    return disturb(arena, draw, "signal")


def kill_driver(arena: Arena, draw: Draw) -> Finding:
    """Kill the driver."""
    return disturb(arena, draw, "driver")


def kill_worker(arena: Arena, draw: Draw) -> Finding:
    """Kill a worker; the run replaces it by itself."""
    return disturb(arena, draw, "worker")


KINDS = (
    Kind(
        "ray-signal",
        "SIGTERM, SIGINT or SIGHUP to the driver of a run on Ray",
        "nothing: a checkpoint is written first",
        signal_driver,
        60,
        at_end=True,
    ),
    Kind(
        "ray-driver",
        "the driver of a run on Ray is killed (SIGKILL)",
        "the steps after the last checkpoint, which are trained again",
        kill_driver,
        60,
        at_end=True,
    ),
    Kind(
        "ray-worker",
        "a worker of a run on Ray is killed (SIGKILL)",
        "the steps after the last checkpoint; the run itself trains them again",
        kill_worker,
        60,
        at_end=True,
    ),
)
