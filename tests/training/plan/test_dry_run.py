"""`vgim train --dry-run`: what it says, that it changes nothing, and that it refuses what a training refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.test_gpu import AGREES, OLD_DRIVER
from tests.embedded import shards_of_train_alone
from tests.training.cases import records, run_location
from vgim.cli import main
from vgim.config import ResolvedConfig, to_yaml
from vgim.errors import VgimError
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import complete_checkpoints
from vgim.storage import Location
from vgim.training.plan import dry_run as dry_run_module
from vgim.training.plan.dry_run import dry_run
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
HERE = "cluster.workers=0"


def said_of(resolved: ResolvedConfig, **options: Any) -> list[str]:
    lines: list[str] = []
    dry_run(resolved, progress=MessagesOnly(lines.append), **options)
    return lines


def line_of(lines: list[str], title: str) -> str:
    (line,) = (line for line in lines if line.startswith(f"{title}: "))
    return line


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_cli(*arguments: str) -> int | str | None:
    """Exit code of the command; None or 0 for success."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def test_utterances_that_are_too_short_for_a_crop_are_counted_here_and_by_the_training(
    tiny_config: Maker,
) -> None:
    resolved = tiny_config(HERE, "data.crop_samples=60000", "train.max_steps=1", "train.batch_size=2")
    told = r"(\d+) utterances of 40 of the train split left out, with fewer than the 60160 samples of a crop by .*"
    found = re.fullmatch(f"data: {told}=60000", line_of(said_of(resolved), "data"))
    assert found is not None
    assert 0 < int(found[1]) < 40
    assert train(resolved) == 0
    events = [record["message"] for record in records(str(run_location(resolved.config)), "event")]
    assert any(re.match(told, message) for message in events)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(dry_run_module, "ensure_ray", refuse)
    monkeypatch.setattr(dry_run_module, "starts_private", lambda address: True)


def test_a_new_run_is_described_and_nothing_is_written(tiny_config: Maker, tmp_path: Path) -> None:
    resolved = tiny_config(HERE, "train.epochs=3", "train.accumulate=2", "cluster.device=cpu")
    lines = said_of(resolved)
    assert line_of(lines, "placement").startswith("placement: in this process, without Ray; device cpu, ")
    assert line_of(lines, "would do") == "would do: starts a new run with weights drawn from seed 0"
    assert line_of(lines, "step") == (
        "step: 1 virtual rank x 4 crops x 2 micro-batches = 8 crops of 5120 samples; 5 steps an epoch, 15 in all"
    )
    assert line_of(lines, "time").startswith(
        "time: 15 steps are left; the time cannot be known, because no earlier"
    )
    assert "train.max_steps=200" in line_of(lines, "time")
    assert line_of(lines, "memory of a rank").endswith(", the largest")
    assert lines[-1] == "nothing was started or written"
    assert not (tmp_path / "runs").exists()


def test_a_paused_run_goes_on_and_its_measured_steps_give_the_time(
    tiny_config: Maker, tmp_path: Path
) -> None:
    train(tiny_config(HERE, "train.epochs=3"), until_epoch=1)
    before = content_of(tmp_path / "runs")
    lines = said_of(tiny_config(HERE, "train.epochs=4"))
    assert line_of(lines, "would do") == (
        "would do: goes on from its checkpoint of step 10, epoch 1, 0 steps into it, with other values of "
        "train.epochs: 3 → 4"
    )
    assert re.fullmatch(
        r"time: 30 steps are left, [\d:]+ at step rates measured on cpu, \S+ steps a second",
        line_of(lines, "time"),
    )
    assert content_of(tmp_path / "runs") == before


def test_a_rate_a_channel_is_told_a_frame_here_and_where_the_run_starts(tiny_config: Maker) -> None:
    resolved = tiny_config(
        HERE, "objective.target_rate=5", "objective.target_rate_unit=channel", "train.max_steps=1"
    )
    line = line_of(said_of(resolved), "rate")
    assert "objective.target_rate=5 a channel, 40 a frame " in line  # of 8 channels
    train(resolved)
    assert line.removeprefix("rate: ") in run_location(resolved.config).child("metrics.jsonl").read_text()
    a_frame = tiny_config(HERE, "objective.target_rate=5", "storage.name=a-frame")
    assert not [line for line in said_of(a_frame) if line.startswith("rate: ")]


def test_a_finished_run_has_nothing_left(tiny_config: Maker) -> None:
    resolved = tiny_config(HERE, "train.epochs=1")
    train(resolved)
    lines = said_of(resolved)
    assert line_of(lines, "would do") == (
        "would do: nothing: the run is finished (finished at step 10, epoch 1); raise train.epochs to go on"
    )
    assert line_of(lines, "time") == "time: nothing is left to train"


def test_phases_of_a_sequential_run_count_what_is_left_of_each(tiny_config: Maker) -> None:
    sequential = (HERE, "train.schedule=sequential", "train.epochs=2", "train.max_steps=15")
    lines = said_of(tiny_config(*sequential))
    num_phases = tiny_config(*sequential).config.model.num_modules
    assert line_of(lines, "step").endswith(
        f"10 steps an epoch, {15 * num_phases} in all over {num_phases} phases"
    )
    train(tiny_config(*sequential), until_epoch=1)
    assert line_of(said_of(tiny_config(*sequential)), "time").startswith(
        f"time: {15 * num_phases - 10} steps are left; the time cannot be known"
    )  # the modules behind the first were not measured


def test_damage_is_told_and_left_alone(tiny_config: Maker, tmp_path: Path) -> None:
    resolved = tiny_config(HERE, "train.epochs=2")
    train(resolved)
    run = run_location(resolved.config)
    run.child("run.json").delete()
    newest = complete_checkpoints(run)[-1].location
    newest.child("weights.safetensors").write_bytes_atomic(b"cut")
    before = content_of(tmp_path / "runs")
    lines = said_of(resolved)
    assert "would mend first: run.json was lost" in lines
    assert any(line.startswith("would set aside the damaged checkpoint of step 20: ") for line in lines)
    assert line_of(lines, "would do").startswith("would do: goes on from its checkpoint of step 10")
    assert content_of(tmp_path / "runs") == before
    with pytest.raises(VgimError, match="exists with another config"):
        said_of(tiny_config(HERE, "model.channels=12"))


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.channels=12",),
        ("data.crop_samples=600",),
        ("train.batch_size=1000",),
        ("data.shards=/nowhere/shards",),
        ("cluster.device=cuda",),
        ("train.virtual_ranks=2", "model.batch_norm=sync", "storage.name=other"),
        ("train.virtual_ranks=2", "model.posterior_norm=sync", "storage.name=other"),
    ],
)
def test_what_a_training_refuses_is_refused_alike(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    monkeypatch.setattr("vgim.training.torch_gpu.read_gpu_facts", lambda: OLD_DRIVER)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    train(tiny_config(HERE, "train.epochs=1"))
    resolved = tiny_config(HERE, "train.epochs=2", *overrides)
    with pytest.raises(VgimError) as planned:
        said_of(resolved)
    with pytest.raises(VgimError) as trained:
        train(resolved)
    assert (type(planned.value), str(planned.value)) == (type(trained.value), str(trained.value))


def test_sources_are_checked_and_named(tiny_config: Maker) -> None:
    train(tiny_config(HERE, "train.epochs=1"))
    source = run_location(tiny_config(HERE).config).uri
    other = tiny_config(HERE, "storage.name=other", "train.epochs=3")
    resumed, begun = said_of(other, resume_from=source), said_of(other, init_from=source)
    assert line_of(resumed, "would do").endswith("step-00000010, at step 10, epoch 1, 0 steps into it")
    assert line_of(resumed, "time").startswith("time: 20 steps are left, ")
    seeded = said_of(tiny_config(HERE, "storage.name=other", "train.seed=9"), resume_from=source)
    assert line_of(seeded, "would do").endswith(", with other settings than that run had: train.seed: 0 → 9")
    assert line_of(begun, "would do").startswith(f"would do: starts a new run with the weights of {source}/")
    with pytest.raises(VgimError, match="another architecture"):
        said_of(tiny_config(HERE, "storage.name=wide", "model.channels=12"), resume_from=source)


def test_steps_of_another_runs_epoch_do_not_count_on_other_data(tiny_config: Maker, tmp_path: Path) -> None:
    train(tiny_config(HERE, "train.max_steps=3"))
    source = run_location(tiny_config(HERE).config).uri
    other_data = shards_of_train_alone(tmp_path, speakers=2, utterances=16)
    other = tiny_config(HERE, "storage.name=other", f"data.shards={other_data}", "train.epochs=1")
    lines = said_of(other, resume_from=source)
    assert line_of(lines, "time").startswith("time: 4 steps are left")  # of 4 crops each


def test_a_run_behind_the_modules_of_another_is_described(tiny_config: Maker) -> None:
    first = tiny_config(HERE, "train.epochs=1", "model.depth=1")
    train(first)
    source = run_location(first.config).uri
    attached = tiny_config(HERE, "storage.name=behind", f"attach.run={source}")
    lines = said_of(attached)
    assert line_of(lines, "would do").endswith(
        f"seed 0, behind the modules of {source}/checkpoints/step-00000010"
    )
    assert line_of(lines, "memory of a rank").endswith("in the pass of module 1, the largest")
    with pytest.raises(VgimError, match="both say where the first weights come from"):
        said_of(attached, init_from=source)


def test_a_dry_run_without_the_cluster_that_it_counts_on_is_refused_as_the_run_would_be(
    tiny_config: Maker,
) -> None:
    asked = tiny_config("cluster.workers=64", "cluster.device=cuda", "cluster.autoscaling=true")
    with pytest.raises(VgimError, match="no cluster is named: a private Ray on this machine adds no nodes"):
        said_of(asked)


def test_gpus_and_money_come_from_rates_of_gpus(tiny_config: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run_module, "read_gpu_facts", lambda: AGREES)
    monkeypatch.setattr("vgim.cluster.gpu.read_gpu_facts", lambda: AGREES)
    resolved = tiny_config("cluster.workers=2", "cluster.device=auto", "train.epochs=4")
    config = resolved.config
    lines = said_of(resolved, price_per_gpu_hour=3)
    assert "2 workers of 1 CPU and 1 GPU on a private Ray on this machine, device cuda" in line_of(
        lines, "placement"
    )
    assert line_of(lines, "placement").endswith("nccl between them")
    assert "was measured on a GPU" in line_of(lines, "time")
    assert not any(line.startswith("GPUs: ") for line in lines)
    earlier = Location(config.storage.root).child("earlier")
    earlier.child("config.yaml").write_bytes_atomic(to_yaml(config).encode())
    modules = [{"module": m} for m in range(config.model.num_modules)]
    record = {
        "kind": "train",
        "step": 1,
        "epoch": 0,
        "device": "NVIDIA L4",
        "steps_per_s": 0.5,
        "modules": modules,
    }
    earlier.child("metrics.jsonl").write_bytes_atomic(f"{json.dumps(record)}\n".encode())
    lines = said_of(resolved, price_per_gpu_hour=30)
    # Two workers take 5 steps an epoch: 20 steps at 0.5 a second are 40 s on two GPUs.
    assert line_of(lines, "time") == (
        "time: 20 steps are left, 0:40 at step rates measured on NVIDIA L4, 0.5 steps a second"
    )
    assert line_of(lines, "GPUs") == (
        "GPUs: 0:40 of training x 2 of the run = 0.02 GPU-hours x 30 an hour = 0.67"
    )
    with pytest.raises(VgimError, match="has no effect: the workers train on CPUs"):
        said_of(tiny_config("cluster.workers=2", "cluster.device=cpu"), price_per_gpu_hour=3)


def test_stages_are_named_as_far_as_the_config_decides_them(tiny_config: Maker) -> None:
    parallel = ("cluster.workers=3", "cluster.device=cpu", "train.schedule=parallel")
    num_modules = tiny_config().config.model.num_modules
    behind = list(range(1, num_modules))
    placement = f"train.placement=[[0],{behind}]"
    decided = said_of(tiny_config(*parallel, placement, "train.replicas=[2,1]"))
    last = f"modules 1 {'and' if num_modules == 3 else 'to'} {num_modules - 1}"
    assert line_of(decided, "stages") == f"stages: 2 stages: module 0 on ranks 1 and 2; {last} on rank 0"
    assert line_of(decided, "memory of a rank with module 0").endswith("in the pass of module 0, the largest")
    assert line_of(decided, f"memory of a rank with {last}")
    half = line_of(said_of(tiny_config(*parallel, placement)), "stages")
    assert half.startswith(f"stages: 2 stages of module 0; {last}, balanced when the run starts")
    open_lines = said_of(tiny_config(*parallel))
    assert line_of(open_lines, "stages").startswith("stages: balanced when the run starts")
    assert line_of(open_lines, "memory of a rank, at most (a stage trains some of the modules)")


def test_a_corpus_that_is_still_to_be_made_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, root = tmp_path / "shards", tmp_path / "runs"
    overrides = ["model.channels=8", "train.batch_size=2", f"data.shards={shards}", f"storage.root={root}"]
    assert not run_cli("train", "quickstart", *overrides, HERE, "--dry-run")
    out = capsys.readouterr().out
    assert "is made first, from the embedded corpus" in out
    assert "step: 1 virtual rank x 2 crops = 2 crops of" in out
    assert not shards.exists()
    assert not root.exists()


def test_a_price_needs_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("train", "quickstart", "--price-per-gpu-hour", "3") == 2
    assert "--price-per-gpu-hour 3 has no effect without --dry-run; give both" in capsys.readouterr().err
