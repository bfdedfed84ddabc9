"""The estimated cost of a sweep, from measured step rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tune.sweep_cases import MakeSweep
from vgim.config import to_yaml as to_run_yaml
from vgim.config.load import ResolvedConfig
from vgim.errors import ConfigError
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.training.plan.rates import gpu_bill
from vgim.training.trainer import train
from vgim.tune.cost import estimate_cost
from vgim.tune.resources import divide_cluster
from vgim.tune.sweep_file import load_sweep
from vgim.tune.trials import chains_of, trials_of

ROOT = Path(__file__).resolve().parents[2]
SPACE = {"objective.kld_weight": "[0.001, 0.01]", "model.depth": "[2, 1]"}


def test_time_is_estimated_from_measured_rates_only(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE, "train.schedule=sequential", "train.epochs=1", "trials_at_once=1")
    trials = trials_of(sweep)
    chains = chains_of(sweep, trials)
    shares = divide_cluster(sweep.config, sweep.base, {"CPU": 2.0}, private=True)
    before = estimate_cost(chains, shares, [sweep.folder.parent])
    assert "40 steps in all" in before  # two chains, two phases each, ten steps a phase: depths share
    assert "cannot be known" in before
    train(ResolvedConfig(chains[0].trials[1].config, {}, ""))
    after = estimate_cost(chains, shares, [sweep.folder.parent])
    assert "30 steps in all" in after  # less the deeper trial of the first chain, which has ended
    assert "of training at step rates measured on cpu" in after


LOST: list[tuple[str, Any]] = [
    ("steps_per_s", None),
    ("steps_per_s", 0),
    ("device", ["L4"]),
    ("modules", [{}]),
]
"""What damage may leave of a record that still reads."""


def test_gpu_hours_and_money_are_estimated_from_rates_of_gpus_only(tiny_sweep: MakeSweep) -> None:
    cuda = ("cluster.device=cuda", "cluster.workers=2", "trials_at_once=2")
    sweep = tiny_sweep(SPACE, "train.schedule=sequential", "train.epochs=2", *cuda)
    chains = chains_of(sweep, trials_of(sweep))
    shares = divide_cluster(sweep.config, sweep.base, {"CPU": 8.0, "GPU": 4.0}, private=True)
    assert shares.gpus == 2
    run = RunFolder(Location(sweep.base.storage.root).child("earlier"))
    longer = sweep.base.model_copy(update={"train": sweep.base.train.model_copy(update={"epochs": 9})})
    run.location.child("config.yaml").write_bytes_atomic(to_run_yaml(longer).encode())
    measured: list[dict[str, Any]] = [
        {
            "kind": "train",
            "step": step,
            "epoch": 1,
            "device": device,
            "steps_per_s": rate,
            "modules": [{"module": module}],
        }
        for step, (device, module, rate) in enumerate(
            [("cpu", 0, 900.0), ("cpu", 1, 900.0), ("NVIDIA L4", 0, 0.5), ("NVIDIA L4", 1, 0.25)]
        )
    ]
    records = run.location.child("metrics.jsonl")
    records.write_bytes_atomic("".join(f"{json.dumps(one)}\n" for one in measured[:2]).encode())
    places = [run.location.parent]
    assert "was measured on a GPU" in estimate_cost(chains, shares, places, price_per_gpu_hour=3)
    damaged = [{**measured[2], key: value} for key, value in LOST] + [
        {key: value for key, value in measured[2].items() if key != "steps_per_s"}
    ]
    records.write_bytes_atomic("".join(f"{json.dumps(one)}\n" for one in measured + damaged).encode())
    # Two weights, two modules of 2 × 5 steps each: 20 steps at 0.5 a second and 20 at 0.25 are 120 s, on two GPUs.
    free = estimate_cost(chains, shares, places)
    assert "40 steps in all, 2:00 of training at step rates measured on NVIDIA L4; about 1:00 with 2" in free
    assert "GPUs: 2:00 of training x 2 of a trial = 0.07 GPU-hours; --price-per-gpu-hour" in free
    priced = estimate_cost(chains, shares, places, price_per_gpu_hour=30, stops_early=True)
    assert "0.07 GPU-hours x 30 an hour = 2.00" in priced
    assert "idle GPUs" in priced
    assert "though the scheduler will stop some" in priced


def test_a_price_of_gpus_is_refused_where_trials_train_on_cpus(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE)
    shares = divide_cluster(sweep.config, sweep.base, {"CPU": 2.0}, private=True)
    with pytest.raises(
        ConfigError, match=r"--price-per-gpu-hour 2\.5 has no effect: the trials train on CPUs"
    ):
        estimate_cost(chains_of(sweep, trials_of(sweep)), shares, [], price_per_gpu_hour=2.5)


def test_the_worked_example_in_the_docs_on_clusters_is_right() -> None:
    page = " ".join((ROOT / "docs" / "cluster.md").read_text().split())
    steps = 7 * 4 * 100 * 3_000
    assert f"7 × 4 × 100 × 3,000 = {steps:,} steps" in page
    seconds, price, head = steps / 10, 0.80, 0.10
    bill = gpu_bill(seconds, 1, price)
    assert bill in page
    hours = seconds / 7 / 3600
    assert f"{seconds / 3600:.2f} / 7 = {hours:.2f} hours" in page
    assert f"8 × {hours:.2f} × {price:.2f} = {8 * round(hours, 2) * price:.2f}" in page
    assert f"{hours:.2f} × {head:.2f} = {round(hours, 2) * head:.2f}" in page
    sweep = load_sweep("sweep-kld")
    assert (len(chains_of(sweep, trials_of(sweep))), sweep.base.train.epochs) == (7, 100)
