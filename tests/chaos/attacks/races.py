"""The same command several times at once."""

from __future__ import annotations

import os
from functools import partial

from tests.chaos.arena import Arena, Scenario
from tests.chaos.attacks.kind import Draw, Finding, Kind
from tests.chaos.digest import differences
from tests.chaos.oracle import ending_complaints, error_lines, state_complaints, success_complaints
from tests.chaos.scenarios import SCENARIOS


def race(scenario: Scenario, alone: bool, arena: Arena, draw: Draw) -> Finding:
    """Start a command several times in one instant.

    Args:
        alone: Whether one of the commands does the work and the others are refused.
    """
    reference, count = arena.reference(scenario), draw.random.choice((2, 2, 3, 4))
    arena.fresh(scenario.part)
    read, write = os.pipe()

    def wait() -> None:
        os.close(write)
        os.read(read, 1)

    children = [arena.start(scenario.command, name=f"command-{n}", before=wait) for n in range(count)]
    os.close(read)
    os.close(write)
    outcomes = [child.wait(arena.timeout_s * count) for child in children]
    complaints = [line for outcome in outcomes for line in ending_complaints(outcome)]
    codes = [outcome.code for outcome in outcomes]
    if 0 not in codes:
        complaints.append(f"none succeeded: {[error_lines(outcome)[:1] for outcome in outcomes]}")
    worked = sum(outcome.code == 0 and " is finished (" not in outcome.out for outcome in outcomes)
    if alone and worked > 1:
        complaints.append(f"{worked} of {count} processes trained the same run")
    complaints += state_complaints(arena.case)
    complaints += differences(reference.results, arena.results(scenario))
    complaints += success_complaints(arena.again(scenario)) or differences(
        reference.results, arena.results(scenario)
    )
    return Finding(f"{scenario.name}: {count} at once (exit codes {codes})", tuple(dict.fromkeys(complaints)))


def _kind(name: str, alone: bool, verb: str, lost: str, cost: float = 4.0, repeats: int = 1) -> Kind:
    words = ", ".join(f"`{part}`" if part.startswith("vgim") else part for part in verb.split(", "))
    fault = f"the same command several times in one instant: {words}"
    return Kind(f"race-{name}", fault, lost, partial(race, SCENARIOS[name], alone), cost, repeats)


ONE = "nothing: one works, the others are refused"
KINDS = (
    _kind("train", True, "vgim train", ONE, repeats=2),
    _kind("resume", True, "vgim train, continued", ONE),
    _kind("prepare", False, "vgim data prepare", ONE),
    _kind("probe", False, "vgim probe", "nothing: all write the same result"),
    _kind("features", False, "vgim features", ONE),
    _kind("decoder", True, "vgim decode train", ONE),
    _kind("sweep", True, "vgim sweep", ONE, 12),
    _kind("experiment", True, "vgim experiment", ONE, 20),
)
