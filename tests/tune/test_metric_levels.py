"""Chance and the most frequent class as levels of a sweep's metric."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vgim.config import RunConfig
from vgim.config.schema import DataConfig, ObjectiveConfig, StorageConfig
from vgim.tune.config import MetricConfig
from vgim.tune.metric_levels import metric_levels
from vgim.tune.quick_probe import FILE, QuickProbe, add_quick_probe
from vgim.tune.trials import Trial

PHONE = MetricConfig(kind="probe", task="phone")


def trial(folder: Path, name: str, num_negatives: int = 10) -> Trial:
    objective = ObjectiveConfig(num_negatives=num_negatives)
    storage = StorageConfig(root=str(folder), name=name)
    return Trial(name, {}, RunConfig(data=DataConfig(shards="shards"), objective=objective, storage=storage))


def probe(step: int, majority: float | None) -> QuickProbe:
    return QuickProbe(
        step=step,
        epoch=1,
        module=3,
        task="phone",
        max_utterances=PHONE.max_utterances,
        accuracy=0.5,
        chance=0.25,
        majority=majority,
    )


def test_a_loss_has_chance_where_all_trials_have_the_same(tmp_path: Path) -> None:
    same = [trial(tmp_path, "a"), trial(tmp_path, "b")]
    (level,) = metric_levels(same, MetricConfig(kind="nce"))
    assert (level.name, level.value) == ("chance", pytest.approx(math.log(11)))
    assert metric_levels([*same, trial(tmp_path, "c", 5)], MetricConfig(kind="nce")) == ()


def test_a_probe_has_chance_and_the_most_frequent_class(tmp_path: Path) -> None:
    probed, waiting = trial(tmp_path, "a"), trial(tmp_path, "b")
    add_quick_probe(probed.run, probe(10, 0.4))
    levels = metric_levels([probed, waiting], PHONE)
    assert [(level.name, level.value) for level in levels] == [("chance", 0.25), ("most frequent class", 0.4)]


def test_a_probe_of_an_earlier_version_has_chance_alone(tmp_path: Path) -> None:
    old = trial(tmp_path, "a")
    line = probe(10, None).model_dump_json(exclude={"majority"}) + "\n"
    old.run.child(FILE).write_bytes_atomic(line.encode())
    assert [level.name for level in metric_levels([old], PHONE)] == ["chance"]
    old.run.child(FILE).write_bytes_atomic(b"{}\n" + line.encode())
    metric_levels([old], PHONE)  # a damaged line ends no sweep
