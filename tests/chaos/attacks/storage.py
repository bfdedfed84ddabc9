"""Storage that fails, fills up, is read-only, is slow, or is taken away, at any operation of a command."""

from __future__ import annotations

import errno
import os
import shutil
import time
from functools import partial
from pathlib import Path, PurePath
from random import Random

from tests.chaos.arena import Arena, Scenario
from tests.chaos.attacks.kind import Draw, Finding, Kind, operation_class
from tests.chaos.digest import differences
from tests.chaos.operations import Hook, Operation
from tests.chaos.oracle import (
    ending_complaints,
    error_lines,
    names,
    naming_complaints,
    state_complaints,
    success_complaints,
)
from tests.chaos.scenarios import SCENARIOS

ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.EDQUOT)
FREEING = ("delete", "rmdir")
"""Operations that a full disk allows."""
SLOW_S = 0.02


def blamed(operation: Operation) -> list[str]:
    """What an error may name if an operation fails: its file, or a folder below a run's that was deleted with it."""
    above = [str(folder) for folder in PurePath(operation.path).parents[:-3]]
    return [operation.path, *(above if operation.kind in FREEING else ())]


def fail(scenario: Scenario, arena: Arena, draw: Draw) -> Finding:
    """Let an operation fail, once or from then on; the error names the file, and nothing is lost afterwards."""
    reference, rng = arena.reference(scenario), draw.random
    numbered = list(enumerate(reference.operations))
    site, operation = draw.spread(numbered, lambda item: operation_class(item[1]))
    code = rng.choice(ERRORS) if operation.changes else errno.EIO
    lasts = rng.random() < 0.5
    failed = arena.root / "failed"
    failed.unlink(missing_ok=True)

    def hook(number: int, operation: Operation) -> None:
        full = code in (errno.ENOSPC, errno.EDQUOT) and operation.kind in FREEING
        same = operation.changes == reference.operations[site].changes
        if number == site or (lasts and number > site and same and not full):
            with failed.open("a", encoding="utf-8") as file:
                file.writelines(f"{path}\n" for path in blamed(operation))
            raise OSError(code, os.strerror(code), str(arena.case / operation.path))

    arena.fresh(scenario.part)
    outcome = arena.run(scenario.command, hook)
    complaints = ending_complaints(outcome)
    tried = failed.read_text().splitlines() if failed.exists() else []
    if not complaints and outcome.code and tried:
        told = " ".join(error_lines(outcome))
        if not any(names(told, path) for path in tried):
            complaints += naming_complaints(outcome, tried[0])
    if not lasts and not any(path.endswith("run.json") or "run.json" in path for path in tried):
        complaints += state_complaints(arena.case)
    complaints += success_complaints(arena.again(scenario)) or differences(
        reference.results, arena.results(scenario)
    )
    how = "from" if lasts else "at"
    return Finding(
        f"{scenario.name}: {errno.errorcode[code]} {how} operation {site}, {operation}", tuple(complaints)
    )


def take_away(scenario: Scenario, arena: Arena, draw: Draw) -> Finding:
    """Delete the folder of results in the middle; the command says so, and the same command starts again."""
    reference, rng = arena.reference(scenario), draw.random
    moment = rng.randrange(len(reference.operations))
    place = arena.case / scenario.results[0]
    inside = [
        Path(o.path).parts
        for o in reference.operations[: moment + 1]
        if o.path.startswith(scenario.results[0])
    ]
    if inside and len(inside[-1]) > 2:  # the run, not the folder of all runs
        place = arena.case / Path(*inside[-1][:2])

    def hook(number: int, operation: Operation) -> None:
        if number == moment:
            shutil.rmtree(place, ignore_errors=True)

    arena.fresh(scenario.part)
    outcome = arena.run(scenario.command, hook)
    complaints = ending_complaints(outcome)
    complaints += success_complaints(arena.again(scenario))
    if not complaints and scenario.part == "shards":
        # A checkpoint that was being written may be whole, and is continued from; the records before it are deleted.
        complaints += [
            line
            for line in differences(reference.results, arena.results(scenario))
            if not line.endswith("metrics.jsonl differs")
        ]
    named = place.relative_to(arena.case)
    return Finding(f"{scenario.name}: {named} is deleted at operation {moment}", tuple(complaints))


def _slow(rng: Random) -> Hook:
    def hook(number: int, operation: Operation) -> None:
        if rng.random() < 0.1:
            time.sleep(rng.random() * SLOW_S)

    return hook


def slow_down(scenario: Scenario, arena: Arena, draw: Draw) -> Finding:
    """Make storage slow, in an irregular way; the results are the same."""
    reference = arena.reference(scenario)
    arena.fresh(scenario.part)
    outcome = arena.run(scenario.command, _slow(draw.random))
    complaints = success_complaints(outcome) or differences(reference.results, arena.results(scenario))
    return Finding(f"{scenario.name}: storage that is slow at times", tuple(complaints))


def flicker(scenario: Scenario, arena: Arena, draw: Draw) -> Finding:
    """Let one operation in fifty fail; the same command, again and again, ends with the same results."""
    reference, rng = arena.reference(scenario), draw.random
    code = rng.choice((errno.EIO, errno.ESTALE, errno.ETIMEDOUT))

    def hook(number: int, operation: Operation) -> None:
        if rng.random() < 0.02:
            raise OSError(code, os.strerror(code), str(arena.case / operation.path))

    arena.fresh(scenario.part)
    complaints: list[str] = []
    for _ in range(2):
        outcome = arena.run(scenario.command, hook)
        complaints += ending_complaints(outcome)
        rng.random()
    complaints += success_complaints(arena.again(scenario)) or differences(
        reference.results, arena.results(scenario)
    )
    return Finding(f"{scenario.name}: {errno.errorcode[code]} at one operation in fifty", tuple(complaints))


FULL = "full, read-only or failing storage (ENOSPC, EDQUOT, EROFS, EACCES, EIO) at any operation"
FAILS = {
    "train": ("the steps after the last checkpoint", 3.0, 3),
    "resume": ("the steps after the last checkpoint", 3.0, 1),
    "decoder": ("the steps after the last checkpoint", 3.0, 1),
    "prepare": ("the shards that were not finished", 2.0, 1),
    "probe": ("the probe that was being computed", 3.0, 1),
    "latents": ("the analysis that was being computed", 3.0, 1),
    "report": ("nothing: the page before stays whole", 1.0, 1),
    "export": ("nothing: the export before stays whole", 2.0, 1),
    "features": ("the part of the corpus that was being encoded", 3.0, 1),
    "sweep": ("steps of the trial that trained", 8.0, 1),
    "experiment": ("steps of the run that trained", 15.0, 1),
}
VERBS = {
    "train": "`vgim train`",
    "resume": "`vgim train`, continued",
    "decoder": "`vgim decode train`",
    "prepare": "`vgim data prepare`",
    "probe": "`vgim probe`",
    "latents": "`vgim latents`",
    "report": "`vgim report`",
    "export": "`vgim export`",
    "features": "`vgim features`",
    "sweep": "`vgim sweep`",
    "experiment": "`vgim experiment`",
}
KINDS = (
    *(
        Kind(f"storage-{name}", f"{FULL}: {VERBS[name]}", lost, partial(fail, SCENARIOS[name]), cost, repeats)
        for name, (lost, cost, repeats) in FAILS.items()
    ),
    Kind(
        "deleted-train",
        "the run's folder is deleted while it trains",
        "the run: the same command starts it again",
        partial(take_away, SCENARIOS["train"]),
        3,
    ),
    Kind(
        "slow-train",
        "slow storage: `vgim train`",
        "nothing",
        partial(slow_down, SCENARIOS["train"]),
        4,
    ),
    Kind(
        "flicker-train",
        "storage that fails now and then: `vgim train`",
        "the steps after the last checkpoint",
        partial(flicker, SCENARIOS["train"]),
        5,
    ),
)
