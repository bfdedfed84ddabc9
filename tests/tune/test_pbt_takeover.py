"""A member killed while it takes over another's checkpoint always has a whole one, and ends as if it were not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tune.population_cases import RATE, STEPS, go_on, population, rates, same, steps
from tests.tune.sweep_cases import MakeSweep
from vgim.errors import StorageError
from vgim.runs.checkpoint import Checkpoint, find_checkpoint, newest_whole_checkpoint
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.runs.metrics_writer import MetricsWriter
from vgim.storage import Location
from vgim.tune.pbt_exploit import exploit, finish_takeover
from vgim.tune.pbt_lineage import TAKEOVER, read_lineage, with_current_values
from vgim.tune.trials import Trial, trials_of, with_values

CHANGES = [(Location, "write_bytes_atomic"), (Location, "delete"), (MetricsWriter, "_append")]
"""All that changes a run's folder in a takeover."""


class Killed(BaseException):
    """Stands for the signal that kills a process."""


def kill_at(patch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Kill the process before a change to storage, counted from 0; returns the changes that were made."""
    made: list[str] = []

    def dying(kind: type, name: str) -> Callable[..., Any]:
        change = getattr(kind, name)

        def call(self: Any, *args: Any) -> Any:
            if len(made) == number:
                raise Killed
            made.append(f"{name} {getattr(self, 'name', '')}")
            return change(self, *args)

        return call

    for kind, name in CHANGES:
        patch.setattr(kind, name, dying(kind, name))
    return made


def content(run: Location) -> tuple[Any, ...]:
    """What a member's folder says: weights, values, history."""
    checkpoint = find_checkpoint(run.uri)
    records = [{key: value for key, value in record.items() if key != "time"} for record in read_metrics(run)]
    config = RunFolder(run).config()
    assert config is not None
    return (
        checkpoint.state.files,
        [c.name for c in map(run.child("checkpoints").child, run.child("checkpoints").list())],
        config.optim.learning_rate,
        read_lineage(run),
        records,
        sorted(name for name in run.list() if name != "run.json"),
    )


def whole(run: Location) -> Checkpoint:
    """A whole checkpoint of a member, in its folder or in its takeover."""
    found = newest_whole_checkpoint(run) or newest_whole_checkpoint(run.child(TAKEOVER))
    assert found is not None
    return found


def test_a_member_killed_at_any_change_of_a_takeover_is_as_before_or_takes_over(
    tiny_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep = population(tiny_sweep)
    good, bad = trials_of(sweep)
    go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)
    source = find_checkpoint(good.run.uri)
    config = with_values(bad, {RATE: 2e-3}).config
    start = tmp_path / "start"
    shutil.copytree(bad.run.local_path, start)

    def again() -> None:
        shutil.rmtree(bad.run.local_path)
        shutil.copytree(start, bad.run.local_path)

    before = content(bad.run)
    exploit(bad.run, source, config, [RATE])
    after = content(bad.run)
    assert after[2:4] != before[2:4]
    outcomes = set()
    for number in range(500):
        again()
        with pytest.MonkeyPatch.context() as patch:
            made = kill_at(patch, number)
            try:
                exploit(bad.run, source, config, [RATE])
                break
            except Killed:
                pass
        assert len(made) == number
        whole(bad.run)
        values = with_current_values(bad).values  # as the same command finds it
        if number % 3 == 0:  # and killed again while it ends the takeover
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, number // 3)
                try:
                    finish_takeover(bad.run)
                except Killed:
                    whole(bad.run)
                    assert with_current_values(bad).values == values
        finish_takeover(bad.run)
        found = content(bad.run)
        outcomes.add(found == after)
        assert found == (after if values == {RATE: 2e-3} else before)
        if number % 4 == 0:
            exploit(bad.run, source, config, [RATE])  # the scheduler decides again as it did
            assert content(bad.run) == after
    assert outcomes == {True, False}
    assert number > 30


def test_a_killed_takeover_ends_at_the_weights_of_one_that_was_not(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep, "train.epochs=2")
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1)
    kept = bad.run.local_path.with_name("kept")
    shutil.copytree(bad.run.local_path, kept)
    go_on(sweep, bad, rate=2e-3, checkpoint=report.checkpoint)
    straight = kept.with_name("straight")
    bad.run.local_path.rename(straight)
    kept.rename(bad.run.local_path)
    source, config = find_checkpoint(good.run.uri), with_values(bad, {RATE: 2e-3}).config
    for number in (2, 15, 30):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, number)
            with pytest.raises(Killed):
                exploit(bad.run, source, config, [RATE])
    go_on(sweep, with_current_values(bad))
    assert same(find_checkpoint(bad.run.uri), find_checkpoint(str(straight)))
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * STEPS
    assert steps(bad.run) == list(range(1, 2 * STEPS + 1))
    ours, theirs = (read_lineage(run).segments for run in (bad.run, Location(straight)))
    assert ours == theirs


def test_a_damaged_source_gives_way_to_its_newest_whole_checkpoint(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep, "train.checkpoint_every_steps=2", "train.keep_last=5")
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    (good.run.local_path / "checkpoints/step-00000004/weights.safetensors").write_bytes(b"")
    (told,) = go_on(sweep, bad, num_reports=1, rate=2e-3, checkpoint=report.checkpoint)
    assert "checkpoints/step-00000002 (epoch 0)" in told.message


@pytest.mark.parametrize("damage", ["lost", "emptied", "halved"])
def test_a_members_config_is_written_anew_with_its_own_values(tiny_sweep: MakeSweep, damage: str) -> None:
    sweep = population(tiny_sweep, "train.epochs=2")
    good, bad = trials_of(sweep)
    (report,) = go_on(sweep, good, num_reports=1)
    go_on(sweep, bad, num_reports=1, rate=2e-3, checkpoint=report.checkpoint)
    path = bad.run.child("config.yaml").local_path
    data = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "emptied" else data[: data.index(b"\n", len(data) // 2)])
    again: Trial = with_current_values(trials_of(sweep)[1])
    assert again.values == {RATE: 2e-3}
    go_on(sweep, again)
    assert rates(bad.run) == [1e-3] * STEPS + [2e-3] * STEPS


def test_a_damaged_lineage_is_told_in_a_line(tiny_sweep: MakeSweep) -> None:
    sweep = population(tiny_sweep)
    member = trials_of(sweep)[0]
    member.run.child("lineage.json").write_bytes_atomic(b"\xff")
    with pytest.raises(StorageError, match=r"lineage\.json is damaged .*delete the member's folder") as e:
        with_current_values(member)
    assert "\n" not in str(e.value)
