"""SIGTERM, SIGINT and SIGHUP at any moment of a command, once, or twice as by somebody impatient."""

from __future__ import annotations

import os
import re
import signal
from functools import partial

from tests.chaos.arena import Arena, Reference, Scenario
from tests.chaos.attacks.kind import Draw, Finding, Kind
from tests.chaos.digest import differences
from tests.chaos.operations import Operation
from tests.chaos.oracle import ending_complaints, state_complaints, success_complaints
from tests.chaos.scenarios import SCENARIOS

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
TRAINS = ("train", "resume", "attach", "decoder", "sweep", "population", "experiment")
"""Scenarios whose commands write a checkpoint when they are told to end."""


def send(scenario: Scenario, arena: Arena, draw: Draw) -> Finding:
    """Send a signal at an operation; the same command must then end as if nothing had happened."""
    reference, rng = arena.reference(scenario), draw.random
    sent = list(CODES)[draw.number % 3]
    moment = rng.randrange(max(len(reference.operations), 1))
    twice = moment + rng.randrange(1, 20) if rng.random() < 0.25 else -1

    def hook(number: int, operation: Operation) -> None:
        if number in (moment, twice):
            os.kill(os.getpid(), sent)

    arena.fresh(scenario.part)
    stopped = arena.run(scenario.command, hook)
    # A command that keeps no state may be ended by the signal itself, which shells report by the same code.
    allowed = {CODES[sent]} if scenario.name in TRAINS else {CODES[sent], -sent}
    complaints = ending_complaints(stopped, also=allowed)
    if stopped.code in ERRORS_OF_SIGNALS:
        complaints.append(f"exit code {stopped.code}, not {CODES[sent]}")
    complaints += state_complaints(arena.case)
    complaints += success_complaints(arena.again(scenario)) or [
        line
        for line in differences(reference.results, arena.results(scenario))
        if not _is_of_pruning(line, reference)
    ]
    times = "twice" if twice >= 0 else "once"
    at = reference.operations[moment] if reference.operations else "the start"
    return Finding(f"{scenario.name}: {sent.name} {times} at operation {moment}, {at}", tuple(complaints))


def _is_of_pruning(difference: str, reference: Reference) -> bool:
    """Whether a difference is of which checkpoints were kept: one that a signal wrote is among the newest, too.

    The last checkpoint of a run is the same in any case.
    """
    path = difference.partition(" ")[0]
    folder = CHECKPOINT.match(path)
    if folder is None or difference.endswith("differs"):
        return False
    others = [name for name in reference.results if name.startswith(folder[1])]
    return folder[0] != max(match[0] for name in others if (match := CHECKPOINT.match(name)))


CHECKPOINT = re.compile(r"(.*checkpoints/)step-\d+/")
ERRORS_OF_SIGNALS = range(1, 7)


def _kind(name: str, fault: str, lost: str, cost: float = 3.0, repeats: int = 1) -> Kind:
    return Kind(f"signal-{name}", fault, lost, partial(send, SCENARIOS[name]), cost, repeats)


SENT = "SIGTERM, SIGINT (Ctrl-C) or SIGHUP at any moment"
NOTHING = "nothing: a checkpoint is written first"
KINDS = (
    _kind("train", f"{SENT}: `vgim train`", NOTHING, repeats=3),
    _kind("attach", f"{SENT}: `vgim train --attach`", NOTHING),
    _kind("decoder", f"{SENT}: `vgim decode train`", NOTHING),
    _kind("sweep", f"{SENT}: `vgim sweep`", NOTHING, 8),
    _kind("population", f"{SENT}: `vgim sweep`, population based training", NOTHING, 10),
    _kind("experiment", f"{SENT}: `vgim experiment`", "the probe that was being computed", 15),
    _kind("prepare", f"{SENT}: `vgim data prepare`", "the shards that were not finished"),
    _kind("probe", f"{SENT}: `vgim probe`", "the probe that was being computed"),
    _kind("latents", f"{SENT}: `vgim latents`", "the analysis that was being computed"),
    _kind("features", f"{SENT}: `vgim features`", "the part of the corpus that was being encoded"),
)
