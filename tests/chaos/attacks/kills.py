"""SIGKILL before any operation that changes a file, or in the middle of a write."""

from __future__ import annotations

import os
import signal
from functools import partial

from tests.chaos.arena import Arena, Scenario
from tests.chaos.attacks.kind import Draw, Finding, Kind, operation_class
from tests.chaos.digest import differences
from tests.chaos.operations import TORN, Operation
from tests.chaos.oracle import ending_complaints, success_complaints
from tests.chaos.scenarios import SCENARIOS

TORN_SHARE = 0.3


def kill(scenario: Scenario, arena: Arena, draw: Draw) -> Finding:
    """Kill a command at one of its writes; the same command must then end as if nothing had happened."""
    reference = arena.reference(scenario)
    sites = [
        (number, operation) for number, operation in enumerate(reference.operations) if operation.changes
    ]
    site, operation = draw.spread(sites, lambda numbered: operation_class(numbered[1]))
    torn = operation.kind == "write" and draw.random.random() < TORN_SHARE

    def hook(number: int, operation: Operation) -> str | None:
        if number == site:
            if torn:
                return TORN
            os.kill(os.getpid(), signal.SIGKILL)
        return None

    arena.fresh(scenario.part)
    killed = arena.run(scenario.command, hook)
    complaints = ending_complaints(killed, also=(-signal.SIGKILL,))
    again = arena.again(scenario)
    complaints += success_complaints(again) or differences(reference.results, arena.results(scenario))
    moment = "in the middle of" if torn else "before"
    return Finding(f"{scenario.name}: SIGKILL {moment} operation {site}, {operation}", tuple(complaints))


def _kind(name: str, lost: str, cost: float = 3.0, repeats: int = 1) -> Kind:
    scenario = SCENARIOS[name]
    verb = " ".join(["vgim", *scenario.command[: 2 if scenario.command[0] in ("data", "decode") else 1]])
    words = {
        "resume": "`vgim train`, continued",
        "attach": "`vgim train --attach`",
        "population": "`vgim sweep`, population based training",
    }
    fault = f"killed (SIGKILL) at any write: {words.get(name, f'`{verb}`')}"
    return Kind(f"kill-{name}", fault, lost, partial(kill, scenario), cost, repeats)


STEPS = "the steps after the last checkpoint, which are trained again"
KINDS = (
    _kind("train", STEPS, repeats=3),
    _kind("resume", STEPS, repeats=2),
    _kind("attach", STEPS),
    _kind("decoder", STEPS),
    _kind("synth", "files that were not finished"),
    _kind("prepare", "the shards that were not finished"),
    _kind("merge", "the shards that were not linked or copied", 2),
    _kind("split", "the shards that were not finished", 2),
    _kind("probe", "the probe that was being computed"),
    _kind("latents", "the analysis that was being computed"),
    _kind("report", "nothing: the page before stays whole", 1),
    _kind("export", "nothing: the export before stays whole"),
    _kind("features", "the part of the corpus that was being encoded"),
    _kind("decode-sample", "sounds that were not written", 1),
    _kind("sweep", "steps of the trial that trained, after its last checkpoint", 8),
    _kind("population", "steps of the member that trained, after its last checkpoint", 10),
    _kind(
        "experiment",
        "steps of the run that trained, after its last checkpoint; the probe that was computed",
        15,
    ),
)
