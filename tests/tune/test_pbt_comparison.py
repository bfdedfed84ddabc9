"""A population that is killed at or after a comparison decides as one that is not, and carries the decisions out."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tune.population_cases import RATE, STEPS, go_on, population, rates, same, steps
from tests.tune.sweep_cases import MakeSweep
from vgim.runs.checkpoint import find_checkpoint
from vgim.storage import Location
from vgim.tune.pbt import CHECKPOINT_REF, METRIC, NAME, POINT, TIME, VALUES, population_scheduler
from vgim.tune.pbt_comparison import (
    Comparison,
    Exploitation,
    carry_out,
    read_comparison,
    write_comparison,
)
from vgim.tune.pbt_lineage import read_lineage, with_current_values
from vgim.tune.pbt_member import first_comparison_epoch
from vgim.tune.sweep_file import Sweep
from vgim.tune.trials import trials_of

NUM_MEMBERS = 4


class PausedTrial:
    """A trial of Tune that waits at a comparison."""

    status, experiment_tag = "PAUSED", ""

    def __init__(self, number: int, folder: Path, decided: Comparison) -> None:
        from ray.tune import Checkpoint

        self.name = self.trial_id = f"member-{number}"
        decision = decided.exploitations.get(self.name)
        values = {RATE: 1e-3 * (number + 1)} if decision is None else decision.values
        self.config = {POINT: {NAME: self.name, VALUES: values}}
        ref = folder / self.name
        ref.mkdir(parents=True, exist_ok=True)
        (ref / CHECKPOINT_REF).write_text(json.dumps({"run": f"/runs/{self.name}", "step": 4}))
        self.checkpoint = Checkpoint(str(ref))
        kept = SimpleNamespace(num_to_keep=None)
        self.temporary_state = SimpleNamespace(saving_to=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=SimpleNamespace(checkpoint_config=kept))

    def __str__(self) -> str:
        return self.name

    def is_finished(self) -> bool:
        return False

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag


def compare(
    sweep: Sweep,
    folder: Path,
    epochs: list[int],
    decided: Comparison = Comparison(),  # noqa: B008 (frozen)
) -> list[Comparison]:
    """The comparisons at some epochs of a population that Tune starts after the decisions of a comparison."""
    random.seed()  # whatever was drawn before
    scheduler = population_scheduler(sweep, first_comparison=decided.epoch + 1)
    scheduler.set_search_properties(None, None)
    trials = [PausedTrial(number, folder, decided) for number in range(NUM_MEMBERS)]
    controller = SimpleNamespace(search_alg=None, get_trials=lambda: trials, get_live_trials=lambda: trials)
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    found = []
    for epoch in epochs:
        for number, trial in enumerate(trials):
            scheduler.on_trial_result(controller, trial, {METRIC: float(number), TIME: epoch})
        found.append(read_comparison(sweep.folder))
    return found


@pytest.mark.parametrize(
    "space",
    [{"rates": "log 1e-4..1e-1", "samples": str(NUM_MEMBERS)}, {"rates": "[1e-3, 2e-3, 3e-3, 4e-3]"}],
    ids=["range", "list"],
)
def test_a_killed_population_decides_as_one_that_was_not(
    tiny_sweep: MakeSweep, tmp_path: Path, space: dict[str, str]
) -> None:
    pbt = "{kind: pbt, interval_epochs: 1, quantile: 0.5}"
    sweep = population(tiny_sweep, "train.epochs=4", scheduler=pbt, **space)
    first, second = compare(sweep, tmp_path, [1, 2])
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.exploitations.keys() == {"member-2", "member-3"}  # of the highest InfoNCE
    assert {found.run for found in first.exploitations.values()} <= {"/runs/member-0", "/runs/member-1"}
    assert first.exploitations != second.exploitations
    for _ in range(3):
        assert compare(sweep, tmp_path, [1]) == [first]
    # Killed after the first comparison, with the values that its decisions gave.
    assert compare(sweep, tmp_path, [2], first) == [second]


@pytest.mark.parametrize("killed", ["before its takeover", "in its takeover", "after its takeover"])
def test_a_population_killed_after_a_comparison_ends_at_the_same_weights(
    tiny_sweep: MakeSweep, tmp_path: Path, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = population(tiny_sweep)
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)
    assert report.checkpoint is not None
    decided = Comparison(
        epoch=1,
        exploitations={
            bad.id: Exploitation(run=good.run.uri, step=report.checkpoint.step, values={RATE: 2e-3})
        },
    )
    write_comparison(sweep.folder, decided)
    kept = tmp_path / "kept"
    shutil.copytree(sweep.trials.local_path, kept)
    straight = go_on(sweep, bad, rate=2e-3, checkpoint=report.checkpoint)
    expected = Location(tmp_path / "expected")
    bad.run.local_path.rename(expected.local_path)
    shutil.copytree(kept / bad.id, bad.run.local_path)

    if killed == "in its takeover":
        with monkeypatch.context() as patch:
            patch.setattr("vgim.tune.pbt_exploit.MetricsWriter", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                carry_out(decided, [good, bad])
    if killed == "after its takeover":
        carry_out(decided, [good, bad])
    told: list[str] = []
    comparison = read_comparison(sweep.folder)
    assert comparison == decided
    carry_out(comparison, [good, bad], told.append)
    carry_out(comparison, [good, bad], told.append)  # once is enough
    assert len(told) == (killed == "before its takeover")
    members = [with_current_values(member) for member in (good, bad)]
    assert members[1].values == {RATE: 2e-3}
    assert first_comparison_epoch(members, 1, comparison.epoch) == 2
    reports = go_on(sweep, members[1], decided_epoch=comparison.epoch)
    assert [r.metric for r in reports] == [r.metric for r in straight if r.metric is not None]
    assert same(find_checkpoint(bad.run.uri), find_checkpoint(expected.uri))
    assert read_lineage(bad.run) == read_lineage(expected)
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * 2 * STEPS
    assert steps(bad.run) == list(range(1, 3 * STEPS + 1))
    carry_out(comparison, [good, bad], told.append)  # it has gone on since
    assert find_checkpoint(bad.run.uri).state.step == 3 * STEPS


def test_a_decision_whose_checkpoint_is_gone_is_told(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep)
    good, bad = trials_of(sweep)
    go_on(sweep, bad, num_reports=1)
    decided = Comparison(
        epoch=1, exploitations={bad.id: Exploitation(run=good.run.uri, step=4, values={RATE: 2e-3})}
    )
    told: list[str] = []
    carry_out(decided, [good, bad], told.append)
    assert told[0].startswith("warning: member-1 continues from its own checkpoint: ")
    assert with_current_values(bad).values == {RATE: 1e-2}


@pytest.mark.parametrize("data", [b"", b"\xff", b"{}", b'{"epoch": 1, "checksum": "0"}'])
def test_a_damaged_comparison_is_told_and_made_again(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "comparison.json").write_bytes(data)
    told: list[str] = []
    assert read_comparison(Location(tmp_path), told.append) == Comparison()
    assert len(told) == (data != b"{}")  # without a comparison in it, nothing was decided
