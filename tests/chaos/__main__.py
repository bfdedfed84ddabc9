"""`python -m tests.chaos`: attack vgim until the time is up, and say what was right."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "agg")
for _name in ("RAY_ADDRESS", "VGIM_HOME"):
    os.environ.pop(_name, None)

MINUTES_FOR_RAY = 10.0
"""Time below which the attacks on a real Ray are left out."""

from tests.chaos.arena import Arena  # noqa: E402
from tests.chaos.attacks.kind import Draw, Finding, Kind  # noqa: E402
from tests.chaos.attacks.registry import KINDS  # noqa: E402
from tests.chaos.report import Verdict, rows, table, write_page  # noqa: E402
from tests.chaos.rounds import divide, draws  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack; returns 1 if anything went wrong."""
    options = _parser().parse_args(arguments)
    from tests.chaos.imports import import_all

    began = time.monotonic()
    import_all()
    if options.case:
        return _repeat(options.case, options.keep)
    at_end = options.minutes >= MINUTES_FOR_RAY or bool(options.only)
    kinds = [kind for name, kind in KINDS.items() if any(part in name for part in options.only.split(","))]
    kinds = [kind for kind in kinds if at_end or not kind.at_end]
    deadline = began + options.minutes * 60
    root = Path(tempfile.mkdtemp(prefix="vgim-chaos-"))
    try:
        verdicts = _attack(kinds, options.seed, options.jobs, deadline, root, options.verbose)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    found = rows(kinds, verdicts)
    print(f"\nseed {options.seed}, {(time.monotonic() - began) / 60:.1f} minutes\n{table(found)}")
    wrong = [verdict for verdict in verdicts if not verdict.is_right]
    if wrong:
        print("", *(verdict.line() for verdict in wrong), sep="\n")
        print(f"to repeat one: python -m tests.chaos --case {wrong[0].case}")
    if options.wrong:
        Path(options.wrong).write_text("".join(verdict.line() + "\n" for verdict in wrong), encoding="utf-8")
    if options.write_docs:
        write_page(found)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="time for attacks [30]")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other attacks [0]")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="processes [one a CPU]")
    parser.add_argument("--only", default="", help="kinds with this in their names, separated by commas")
    parser.add_argument("--case", default="", help="repeat one attack: KIND-SEED-NUMBER")
    parser.add_argument("--keep", action="store_true", help="with --case: keep the folder of the attack")
    parser.add_argument("--verbose", action="store_true", help="print right attacks too")
    parser.add_argument(
        "--wrong", default="", metavar="FILE", help="write a line for each wrong attack to FILE"
    )
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/reliability.md")
    return parser


def _repeat(case: str, keep: bool) -> int:
    name, seed, number = case.rsplit("-", 2)
    root = Path(tempfile.mkdtemp(prefix="vgim-chaos-"))
    verdict = judge(Arena(root), KINDS[name], Draw(int(seed), name, int(number)))
    print(verdict.line())
    for complaint in verdict.complaints:
        print("  " + complaint)
    if keep:
        print(f"the attack's folder: {root / 'case'}; what commands printed last: {root / 'output'}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    return 0 if verdict.is_right else 1


def _attack(
    kinds: Sequence[Kind], seed: int, jobs: int, deadline: float, root: Path, verbose: bool
) -> list[Verdict]:
    """Attack in some processes until the deadline, and print each wrong attack at once."""
    shares = [share for share in divide(kinds, jobs) if share]
    files = [root / f"verdicts-{number}.jsonl" for number in range(len(shares))]
    pids = []
    for number, (share, file) in enumerate(zip(shares, files, strict=True)):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _work(share, seed, deadline, root / str(number), file)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.append(pid)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    verdicts: list[Verdict] = []
    seen = [0] * len(files)
    running = set(pids)
    while running:
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.discard(pid)
                if status:
                    raise RuntimeError("a process that attacked has ended by itself")
        time.sleep(0.2)
        for number, file in enumerate(files):
            lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
            for line in lines[seen[number] :]:
                verdict = Verdict.from_json(line)
                verdicts.append(verdict)
                if verbose or not verdict.is_right:
                    print(verdict.line(), flush=True)
            seen[number] = len(lines)
    return verdicts


def _work(kinds: Sequence[Kind], seed: int, deadline: float, root: Path, file: Path) -> None:
    root.mkdir()
    arena, parent = Arena(root), os.getppid()
    often, at_end = [kind for kind in kinds if not kind.at_end], [kind for kind in kinds if kind.at_end]
    deadline -= sum(kind.cost for kind in at_end)
    with file.open("a", encoding="utf-8") as lines:
        for round_number, kind, draw in draws(often, seed) if often else ():
            if os.getppid() != parent:  # whoever started the attacks has ended them
                return
            if round_number and time.monotonic() > deadline:
                break
            lines.write(judge(arena, kind, draw).to_json() + "\n")
            lines.flush()
        for kind in at_end:
            lines.write(judge(arena, kind, Draw(seed, kind.name, 0)).to_json() + "\n")
            lines.flush()


def judge(arena: Arena, kind: Kind, draw: Draw) -> Verdict:
    """Make one attack. A defect of the attack itself counts as wrong."""
    began = time.monotonic()
    arena.slowest_s = 0.0
    try:
        finding = kind.attack(arena, draw)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"the attack itself failed: {error!r} at {Path(where.filename).name}:{where.lineno}"
        finding = Finding(kind.name, (problem,))
    case = f"{draw.kind}-{draw.seed}-{draw.number}"
    seconds = time.monotonic() - began
    return Verdict(case, kind.name, finding.attack, finding.complaints, seconds, arena.slowest_s)


if __name__ == "__main__":
    sys.exit(main())
