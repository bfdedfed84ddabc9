"""The naive step computes what ours computes, and every benchmark runs and prints its table. No time is asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.model.draws import Draws
from vgim.model.randomness import DrawKey
from vgim.model.stack import build_encoder

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = (
    "common",
    "naive",
    "step",
    "step_gpu",
    "stream",
    "scaling",
    "parallel",
    "cost_model",
    "checkpoint",
    "cache",
    "playground",
    "probe",
    "ray_cost",
    "reading",
    "scale",
)
SMALL = ["--channels", "8", "--batch", "2", "--samples", "2000"]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The scripts as modules, importing one another as they do when run."""
    import importlib

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    modules = {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name)
    return modules


def for_all_frames(draws: Draws, num_frames: int, channels: int, naive: ModuleType) -> object:
    """A module's draws as the naive module takes them: for frames outside of the window as well."""
    _, B, W, N = draws.negatives.shape
    window = slice(draws.window_start, draws.window_start + W)
    rows = torch.zeros(N, B, num_frames, dtype=torch.long)
    rows[:, :, window] = draws.negatives[0].permute(2, 0, 1)
    eps_z, eps_c = torch.zeros(B, channels, num_frames), torch.zeros(B, channels, num_frames)
    if draws.eps_z is not None and draws.eps_c is not None:
        eps_z, eps_c[:, :, window] = draws.eps_z.mT, draws.eps_c.mT
    return naive.NaiveDraws(draws.window_start, rows.flatten(1), eps_z, eps_c)


@pytest.mark.parametrize("batch_norm", ["local", "none"])
@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
def test_the_naive_step_has_the_same_losses_and_gradients(
    scripts: dict[str, ModuleType], family: str, batch_norm: str
) -> None:
    model = ModelConfig.model_validate(
        {"family": family, "channels": 12, "gru_units": 8, "batch_norm": batch_norm}
    )
    kld_weight = 0.01 if family == "sim" else 0.0
    objective = ObjectiveConfig(
        predictor_init="uniform", window_frames=40, prediction_steps=5 if family == "cpc" else (7, 5, 2, 3)
    )
    ours = build_encoder(model, objective, 0).train()
    theirs = scripts["naive"].NaiveEncoder(model, objective)
    theirs.copy_from(ours)
    audio = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    x, draws, losses = audio, [], []
    frames = ours.module_frames(audio.shape[1])
    for m in range(len(ours)):
        module = ours.module(m)
        drawn = module.draw(x, DrawKey(seed=0, step=0))
        out = module(x, drawn, kld_weight)
        out.loss.backward()
        losses.append(out.loss.detach())
        draws.append(for_all_frames(drawn, frames[m], 12, scripts["naive"]))
        x = out.latents
    naive_losses: list[Tensor] = theirs(audio, kld_weight, draws)
    torch.stack(naive_losses).sum().backward()
    torch.testing.assert_close(torch.stack(naive_losses).detach(), torch.stack(losses), rtol=1e-4, atol=1e-4)
    for m, module in enumerate(theirs.greedy):
        gradient = ours.module(m).nce.weight.grad
        assert gradient is not None
        torch.testing.assert_close(module.predictor.weight.grad, gradient.flatten(0, 1), rtol=1e-3, atol=1e-5)
        for j in range(len(ours.module(m).spec.convs)):
            conv = ours.module(m).layers.get_submodule(f"conv{j}")
            own = module.layers[j * (2 if batch_norm == "none" else 3)]
            torch.testing.assert_close(own.weight.grad, conv.weight.grad, rtol=1e-3, atol=1e-5)


def test_useful_work_is_counted_as_it_is_without_meta_tensors(scripts: dict[str, ModuleType]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    naive = scripts["naive"]
    model, objective = ModelConfig(channels=8, gru_units=8), ObjectiveConfig(kld_weight=0.001)
    step = naive.NaiveStep(naive.NaiveEncoder(model, objective))
    with FlopCounterMode(display=False) as counter:
        step(torch.randn(2, 4000), 0.001)
    counted = naive.count_flops(model, objective, 2, 4000)
    assert sum(flops.train for flops in counted) == counter.get_total_flops()


def test_naive_prints_the_work_of_each_family(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    assert scripts["naive"].main(SMALL) == 0
    out = capsys.readouterr().out
    assert all(f"\n{family} " in out for family in ("sim", "gim", "cpc"))


def test_step_prints_a_row_for_every_way_to_take_a_step(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "step.json"
    arguments = [*SMALL, "--steps", "1", "--no-memory", "--batches", "1", "2", "--json", str(results)]
    assert scripts["step"].main(arguments) == 0
    out = capsys.readouterr().out
    assert "sim     naive" in out
    assert "sequential 3" in out
    assert "ms/crop" in out
    rows = json.loads(results.read_text())["steps"]
    naive, plain, joint, *sequential = rows
    assert [row["variant"] for row in sequential] == [f"sequential {m}" for m in range(4)]
    assert naive["speedup"] == plain["speedup_on_plain"] == 1
    assert joint["speedup_on_plain"] == plain["seconds"] / joint["seconds"]
    assert joint["gflop"] == plain["gflop"] == naive["gflop"] > sequential[-1]["gflop"]


def test_memory_is_measured_in_a_process_of_its_own(scripts: dict[str, ModuleType]) -> None:
    step = scripts["step"]
    case = step.Case("sim", 32, 2, 20_480)
    assert step.measure_memory(case, "joint", 1) > 0


def test_stream_compares_every_reader_and_counts_the_bytes_of_a_crop(
    scripts: dict[str, ModuleType], ray_session: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "stream.json"
    arguments = [
        "--utterances",
        "30",
        "--epochs",
        "4",
        "--rounds",
        "1",
        "--batch",
        "4",
        "--json",
        str(results),
    ]
    assert scripts["stream"].main(arguments) == 0
    out = capsys.readouterr().out
    readers = json.loads(results.read_text())["readers"]
    for codec in ("pcm16", "flac"):
        for crop in ("random", "tile"):
            assert {
                f"{codec} {crop}, {way}" for way in ("here", "here, first epoch", "Ray")
            } <= readers.keys()
    assert {"pcm16 random, sliced from memory", "seek", "seek, 2 loader processes", "whole"} <= readers.keys()
    assert out.count(", target ") == 3
    assert out.count("4 CPUs give ") == 8
    num_bytes = {name: figures["bytes_per_crop"] for name, figures in readers.items()}
    assert num_bytes["pcm16 random, Ray"] is None
    crop_bytes = 2 * 20_480
    assert crop_bytes < num_bytes["pcm16 random, here"] < num_bytes["pcm16 random, here, first epoch"]


def test_scale_prints_every_part_at_two_sizes_and_what_follows_for_a_larger_one(
    scripts: dict[str, ModuleType],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scale, results = scripts["scale"], tmp_path / "scale.json"
    monkeypatch.setattr(scale, "measure", scale.measure_here)  # no process for each part
    arguments = ["--hours", "0.2", "1", "--predict", "10", "--json", str(results)]
    assert scale.main(arguments) == 0
    out = capsys.readouterr().out
    found = json.loads(results.read_text())
    assert list(found["sizes"]) == ["59", "293"]
    for parts in found["sizes"].values():
        assert list(parts) == [*scale.CORPUS_PARTS, *scale.FOLDER_PARTS]
    assert [row[0] for row in found["predicted"]] == [*scale.CORPUS_PARTS, *scale.FOLDER_PARTS]
    assert "10 hours, extrapolated" in out


def test_scale_extrapolates_the_line_through_the_two_largest_sizes(scripts: dict[str, ModuleType]) -> None:
    def at(cpu_s: float) -> dict[str, dict[str, float]]:
        return {"plan": {"cpu_s": cpu_s, "wall_s": 0.0, "mib": 2 * cpu_s}}

    results = {281_241: at(10.0), 562_482: at(15.0), 10: at(900.0)}
    ((name, cpu_s, mib),) = scripts["scale"].predicted(results, 9_600)
    assert (name, cpu_s, mib) == ("plan", pytest.approx(55.0), pytest.approx(110.0))


def test_cache_compares_epochs_from_slow_storage(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "cache.json"
    arguments = ["--utterances", "24", "--rounds", "1", "--latency-ms", "1", "--json", str(results)]
    assert scripts["cache"].main(arguments) == 0
    found = json.loads(results.read_text())["seconds"]
    for crop in ("random", "tile"):
        for way in ("storage", "cache", "cache, another process", "this disk"):
            assert len(found[f"{crop}, {way}, epoch 2"]) == 1
    assert "x storage" in capsys.readouterr().out


@pytest.mark.slow
def test_scaling_measures_two_workers_and_predicts_many(
    scripts: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "scaling", scripts["scaling"])  # the processes that it starts import it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # it sets this variable, for them
    results = tmp_path / "scaling.json"
    arguments = [*SMALL, "--steps", "1", "--rounds", "1", "--utterances", "24", "--json", str(results)]
    assert scripts["scaling"].main(arguments) == 0
    assert "assumed:" in capsys.readouterr().out
    found = json.loads(results.read_text())
    assert found["efficiency"] == found["step_s"][0] / found["step_s"][1]
    assert [row[0] for row in found["predictions"]] == ["1", "2", "8", "64", "512"]


def test_the_timeline_hides_an_all_reduce_behind_later_modules(scripts: dict[str, ModuleType]) -> None:
    model = scripts["cost_model"]
    costs = model.Costs((1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (100, 300), 0.5, (8, 8))
    free, slow = model.Link(1e12, 0.0), model.Link(100.0, 0.0)  # bytes per second
    assert model.joint_s(costs, free, 2) == pytest.approx(costs.step_s)
    # The first module's second on the network hides behind the other module, the last one's three do not.
    assert model.joint_s(costs, slow, 2) == pytest.approx(costs.step_s + 3)
    assert model.sequential_s(costs, slow, 2) == pytest.approx(3 + 3 + 0.5 + 0.5 + 1 + 3)
    assert model.Link(100.0, 1.0).all_reduce_s(100, 8) == pytest.approx(2 * 7 / 8 + 2 * 3)
    assert model.Link(100.0, 1.0).all_reduce_s(100, 1) == 0


def test_the_slowest_stage_sets_the_pace_and_trains_its_own_modules_alone(
    scripts: dict[str, ModuleType],
) -> None:
    model = scripts["cost_model"]
    costs = model.Costs((1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (100, 300), 0.5, (8, 8))
    # Two ranks, two virtual ranks: each stage passes twice over its module, and updates it alone.
    staged = model.parallel(costs, model.Link(1e12, 0.0), 2, 8)
    assert staged.step_s == pytest.approx(2 * 3 + 0.5 * 3 / 4)
    assert staged.stages == "0 x1 | 1 x1"
    assert (
        staged.memory_bytes == 400 + 3 * 300 + 3 * 8
    )  # all weights; gradients and moments of its own; latents
    assert model.joint(costs, model.Link(1e12, 0.0), 2, 1).memory_bytes == 4 * 400
    # A transfer of 8 bytes takes 8 s where a pass takes 3.
    assert model.parallel(costs, model.Link(1.0, 0.0), 2, 8).step_s == pytest.approx(8 + 3 + 0.5 / 4)
    deep = costs.deeper(4, 0)
    assert deep.gradient_bytes == (100, 100, 100, 300)
    assert deep.other_s == pytest.approx(0.5 * 600 / 400)
    assert costs.wider(2).gradient_bytes == (400, 1200)


@pytest.mark.slow
def test_parallel_compares_both_schedules_and_leaves_a_trace(
    scripts: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(
        sys.modules, "parallel", scripts["parallel"]
    )  # the processes that it starts import it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    results, trace = tmp_path / "parallel.json", tmp_path / "trace.json"
    small = ["--channels", "8", "--batch", "2", "--samples", "5120", "--steps", "3", "--rounds", "1"]
    assert scripts["parallel"].main([*small, "--json", str(results), "--trace", str(trace)]) == 0
    assert "speed against joint" in capsys.readouterr().out
    ranks = json.loads(results.read_text())["ranks"]
    assert [len(ranks[way]) for way in ("joint", "parallel")] == [2, 2]
    assert sorted(m for result in ranks["parallel"] for m in result["modules"]) == [0, 1, 2, 3]
    events = json.loads(trace.read_text())["traceEvents"]
    named = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"joint", "parallel"} <= named
    spans = {(event["pid"], event["name"]) for event in events if event["ph"] == "X"}
    assert (1, "wait for latents") in spans
    assert {(way, f"module {m}") for way in range(2) for m in range(4)} <= spans


@pytest.mark.gpu
def test_step_gpu_prints_a_row_for_every_precision_and_way(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--channels", "32", "--samples", "10000", "--batches", "2", "--rounds", "1"]
    assert scripts["step_gpu"].main([*arguments, "--kernels", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("ms of kernels in a step") == 3
    for precision in ("fp32", "tf32", "bf16"):
        for way in ("naive", "joint, eager", "joint, one stream", "joint, graphs"):
            assert f"sim     {precision}       2  {way}" in out


def test_checkpoint_prints_what_training_waits_for_on_each_storage(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "checkpoint.json"
    arguments = [
        *SMALL,
        "--rounds",
        "1",
        "--latency",
        "0.01",
        "--folder",
        str(tmp_path),
        "--json",
        str(results),
    ]
    assert scripts["checkpoint"].main(arguments) == 0
    assert "slow storage  in the background" in capsys.readouterr().out
    rows = json.loads(results.read_text())["checkpoints"]
    assert [(row["storage"], row["way"]) for row in rows] == [
        (storage, way) for storage in ("disk", "slow storage") for way in ("waited for", "in the background")
    ]
    for waited_for, background in (rows[:2], rows[2:]):
        assert waited_for["times_shorter"] == 1
        assert background["times_shorter"] == waited_for["wait_s"] / background["wait_s"]
        assert background["steps_beside"] > 0
    assert rows[3]["written_s"] > 10 * 0.01  # it did wait for its calls


def test_playground_prints_what_a_slider_waits_for(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "playground.json"
    arguments = ["--channels", "8", "--modules", "0", "2", "--rounds", "2", "--json", str(results)]
    assert scripts["playground"].main(arguments) == 0
    assert "channels  module  decode, ms" in capsys.readouterr().out
    rows = json.loads(results.read_text())["playground"]
    assert [(row["channels"], row["module"]) for row in rows] == [(8, 0), (8, 2)]
    assert all(0 < row["decode_ms"] <= row["slowest_ms"] for row in rows)


def test_reading_prints_the_cost_of_each_command_that_reads_results(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "reading.json"
    assert scripts["reading"].main(["--rounds", "1", "--json", str(results)]) == 0
    rows = json.loads(results.read_text())["reading"]
    assert [row["command"] for row in rows] == ["runs", "decode list", "compare", "sweep show", "report"]
    assert all(row["CPU s, least"] > 0 and row["per loop"] > 0 for row in rows)
    assert "sweep show" in capsys.readouterr().out


def test_probe_makes_a_run_where_it_is_given_none(
    scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "probe.json"
    options = "--task speaker --module 0 --encoder trained"
    assert scripts["probe"].main(["--utterances", "60", "--options", options, "--json", str(results)]) == 0
    found = json.loads(results.read_text())
    assert found["figures"] == 1
    assert found["cpu_s"]["here"] > 0
    assert "figures a minute of CPU" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "naive",
        "step",
        "step_gpu",
        "stream",
        "scaling",
        "checkpoint",
        "playground",
        "probe",
        "ray_cost",
        "reading",
        "scale",
    ],
)
def test_help_is_there_and_nothing_runs_on_import(
    scripts: dict[str, ModuleType], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        scripts[name].main(["--help"])
    assert "--threads" in capsys.readouterr().out
