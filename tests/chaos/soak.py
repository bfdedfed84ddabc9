"""`python -m tests.chaos.soak --minutes 60`: one run that is killed and started again, beside one that is left alone.

Both must end with the same weights, and neither may grow in memory.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.digest import differences, digest
from tests.chaos.oracle import TRACEBACK
from tests.conftest import TINY

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAMPLE_S = 0.5
WARM_SHARE = 0.3
"""First part of a launch, in which memory still grows: caches and allocators fill."""
MAX_GROWTH_MB = 24.0
"""Growth of a long launch after its first part, or from launch to launch, that is no leak."""
CALIBRATION_S = 20.0
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Launch:
    """One start of the command."""

    code: int
    seconds: float
    resident_mb: list[float] = field(default_factory=list)
    """Memory of the process, every `SAMPLE_S` seconds."""
    text: str = ""


def launch(
    folder: Path, arguments: Sequence[str], stop_after_s: float, how: signal.Signals | None = None
) -> Launch:
    """Start a command; send a signal after some seconds, if one is given, and wait for the end."""
    command = [sys.executable, "-m", "vgim", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VGIM_HOME": str(folder / "home")}
    began = time.monotonic()
    with (folder / "output.txt").open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        resident, sent = [], False
        while process.poll() is None:
            resident.append(_resident_mb(process.pid))
            if how is not None and not sent and time.monotonic() - began > stop_after_s:
                process.send_signal(how)
                sent = True
            time.sleep(SAMPLE_S)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Launch(process.returncode, time.monotonic() - began, [mb for mb in resident if mb], text)


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB
    except (OSError, IndexError):
        return 0.0


def growth_mb(resident: Sequence[float]) -> float:
    """How much memory grew from the first to the last third of the samples after the warm-up."""
    warm = resident[int(len(resident) * WARM_SHARE) :]
    third = len(warm) // 3
    return statistics.median(warm[-third:]) - statistics.median(warm[:third]) if third else 0.0


def soak(folder: Path, minutes: float, seed: int, say: Callable[[str], None] = print) -> list[str]:
    """Train a run alone and another one with kills; returns what is wrong."""
    rng, wrong = random.Random(seed), []
    (folder / "tiny.yaml").write_text(TINY.format(shards=folder / "shards", root=folder / "runs"))
    for arguments in (
        ("data", "synth", "--out", "corpus", "--speakers", "4", "--utterances", "60"),
        ("data", "prepare", "librispeech", "--corpus", "corpus", "--out", "shards", "--workers", "0"),
    ):
        done = launch(folder, arguments, 0)
        if done.code:
            raise RuntimeError(done.text)

    def train(name: str, steps: int, every: int) -> tuple[str, ...]:
        limits = (f"train.max_steps={steps}", "train.epochs=100000", f"train.checkpoint_every_steps={every}")
        quiet = (
            "train.validate_every_epochs=50",
            "train.log_every_steps=10",
            "train.limit_validation_batches=1",
        )
        return ("train", "tiny.yaml", f"storage.name={name}", *limits, *quiet)

    short, long = launch(folder, train("short", 20, 20), 0), launch(folder, train("long", 420, 420), 0)
    steps_per_s = 400 / max(long.seconds - short.seconds, 0.1)
    share_s = minutes * 60 * 0.4
    steps, every = max(int(steps_per_s * share_s), 100), max(int(steps_per_s * min(share_s / 20, 10)), 5)
    say(f"{steps_per_s:.0f} steps a second; both runs train {steps} steps, with a checkpoint every {every}")

    alone = launch(folder, train("alone", steps, every), 0)
    grown = growth_mb(alone.resident_mb)
    say(
        f"alone: {alone.seconds:.0f} s, {max(alone.resident_mb):.0f} MB at most, grown by {grown:.1f} MB after warm-up"
    )
    if alone.code:
        wrong.append(f"the run that was left alone ended with {alone.code}: {alone.text[-300:]}")
    if grown > MAX_GROWTH_MB:
        wrong.append(f"the run that was left alone grew by {grown:.1f} MB")

    command, deadline = train("killed", steps, every), time.monotonic() + share_s * 1.3
    launches: list[Launch] = []
    codes: Counter[str] = Counter()
    while not launches or launches[-1].code != 0:
        how = rng.choice(SIGNALS) if time.monotonic() < deadline else None
        launches.append(launch(folder, command, rng.uniform(2, 4 + share_s / 12), how))
        name = (
            "to its end"
            if launches[-1].code == 0
            else f"{how.name if how else 'nothing'} → {launches[-1].code}"
        )
        codes[name] += 1
        if TRACEBACK.search(launches[-1].text):
            wrong.append(f"launch {len(launches)}: traceback: {launches[-1].text.strip().splitlines()[-1]}")
        if how is None and launches[-1].code:
            wrong.append(f"the last launch ended with {launches[-1].code}: {launches[-1].text[-300:]}")
            break
    peaks = [max(one.resident_mb) for one in launches if len(one.resident_mb) * SAMPLE_S > 8]
    say(f"killed: {len(launches)} launches ({', '.join(f'{count} {name}' for name, count in codes.items())})")
    if len(peaks) > 1:
        say(f"memory at most: {peaks[0]:.0f} MB in the first launch, {peaks[-1]:.0f} MB in the last")
        if peaks[-1] - peaks[0] > 2 * MAX_GROWTH_MB:
            wrong.append(f"the last launch needed {peaks[-1] - peaks[0]:.0f} MB more than the first")
    different = differences(digest(folder / "runs" / "alone"), digest(folder / "runs" / "killed"))
    different = [
        line for line in different if not line.startswith("config.yaml ") and "/config.yaml " not in line
    ]
    different = [line for line in different if "/state.json " not in line or "differs" not in line]
    # Each launch writes a record at its first step, and counts itself.
    different = [line for line in different if line.partition(" ")[0] not in ("metrics.jsonl", "run.json")]
    say("the two runs are equal" if not different else f"the two runs differ: {'; '.join(different[:5])}")
    return wrong + different


def main() -> int:
    """Soak; returns 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="time for all of it [60]")
    parser.add_argument("--seed", type=int, default=0, help="another seed kills at other times [0]")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vgim-soak-"))
    try:
        wrong = soak(folder, options.minutes, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in wrong:
        print(f"WRONG {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
