"""Spaces: what lists and ranges stand for, and what is refused before anything starts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.errors import ConfigError
from vgim.tune.space import Range, corners, grid_points, parse_space, random_points
from vgim.tune.sweep_file import find_sweep, load_sweep
from vgim.tune.trials import trial_id, trials_of


def test_a_grid_crosses_lists_and_points_of_ranges() -> None:
    axes = parse_space({"objective.kld_weight": "log 1e-4..1e-1", "model": {"depth": [1, 3]}})
    found = list(grid_points(axes, 4))
    assert [v["objective.kld_weight"] for v in found[::2]] == [1e-4, 1e-3, 1e-2, 1e-1]
    assert [v["model.depth"] for v in found] == [1, 3] * 4


def test_points_of_an_int_range_are_integers_without_repeats() -> None:
    assert Range("int", 2, 4).points(9) == [2, 3, 4]
    assert Range("uniform", 0, 1).points(3) == [0.0, 0.5, 1.0]


@given(st.sampled_from(["log", "uniform"]), st.floats(1e-6, 1e3), st.floats(1.001, 1e6), st.floats(0, 1))
def test_a_draw_lies_in_its_range(kind: str, low: float, factor: float, share: float) -> None:
    given_range = Range(kind, low, low * factor)  # type: ignore[arg-type]
    assert low <= given_range.value_at(share) <= low * factor


def test_rounding_moves_no_end_out_of_the_range() -> None:
    assert Range("uniform", 0, 0.99999).points(2) == [0, 0.99999]
    assert Range("log", 1.23446e-4, 1e-1).value_at(0) == 1.23446e-4
    assert Range("uniform", 0, 0.33333).value_at(1) == 0.3333


def test_draws_are_reproducible_and_spread_evenly_in_the_ranges_scale() -> None:
    axes = parse_space({"a.x": "log 1e-4..1e-1", "a.n": "int 1..3", "a.c": ["p", "q"]})
    found = list(random_points(axes, 600, seed=1))
    assert found[:20] == list(random_points(axes, 20, seed=1))
    assert found[:20] != list(random_points(axes, 20, seed=2))
    below = sum(v["a.x"] < math.sqrt(1e-5) for v in found)
    assert 250 < below < 350
    assert all(150 < sum(v["a.n"] == n for v in found) < 250 for n in (1, 2, 3))
    assert 250 < sum(v["a.c"] == "p" for v in found) < 350


def test_corners_reach_every_end() -> None:
    small = parse_space({"a.x": "uniform 0..1", "a.n": [1, 2, 3]})
    assert len(corners(small)) == 6
    wide = parse_space({f"a.k{i}": "uniform 0..1" for i in range(12)})
    assert len(corners(wide)) == 13


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["samples=100000"], "samples=100000 is not allowed .* at most 10000"),
        (
            [
                "samples=1000",
                "space.objective.kld_weight=log 1e-4..1",
                "space.optim.learning_rate=log 1e-4..1",
            ],
            "the grid has [0-9,]+ trials and a sweep at most 10,000; lower samples",
        ),
        (["space.objective.kld_weight=log 0..1"], "a log range at 0 has no beginning"),
        (["space.objective.kld_weight=uniform 2..1"], "put the smaller end first"),
        (["space.model.channels=int 1.5..4"], "has an end that is no integer"),
        (["space.model.channels=64"], "is neither a list nor a range"),
        (["space.model.depth=[]"], "holds no value"),
        (["space.model.depth=[1, 1]"], "holds 1 twice"),
        (["space.model.depth=[1, 9]"], r"there are only 4 modules.*model.depth from the space of"),
        (["space.model.dept=[1, 2]"], "did you mean model.depth"),
        (["space.storage.name=[a, b]"], "where trials run and lie is the same for all"),
        (["serch=grid"], r"serch is not a config key \(from override\); did you mean search"),
        (["metric=3"], "metric is a section"),
        (
            ["metric.kind=loss"],
            r"metric.kind=loss is not allowed \(from override\); it must be one of nce, probe",
        ),
        (["metric.module=3"], "metric.module=3, but a trial of .* has 1 modules"),
        (["samples=1"], "samples=1 points on objective.kld_weight make no grid"),
        (["search=random", "samples=0"], "search=random needs their number"),
        (
            ["search=optuna", "samples=3", "space.objective.kld_weight=[0.1, 0.2]"],
            "propose the same trial twice",
        ),
        (
            ["scheduler.kind=pbt"],
            r"space.model.depth cannot change in the middle of a run.*it decides which weights fit.*overrides",
        ),
        (
            ["scheduler.kind=pbt", "search=optuna"],
            "both choose the values of trials; use search=random",
        ),
        (["train.epochs=none"], r"train.epochs=none is not allowed \(from override\)"),
    ],
)
def test_a_mistake_is_reported_with_its_key_before_anything_starts(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        trials_of(load_sweep("sweep-kld", overrides))


def test_an_unknown_sweep_name_suggests_a_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean sweep-kld"):
        load_sweep("sweep-kdl")


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_a_sweep_in_configs_that_has_no_name_of_its_own_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path(f"configs/mine.{suffix}").write_text("base: quickstart\n")
    with pytest.raises(
        ConfigError, match=rf"no sweep file is called 'mine'; did you mean configs/mine\.{suffix}\?"
    ):
        find_sweep("mine")


def test_a_trials_name_holds_its_values_and_is_unique() -> None:
    assert trial_id({"objective.kld_weight": 1e-3, "model.depth": 2}) == "kld_weight0.001-depth2"
    lists = [trial_id({"train.module_epochs": epochs}) for epochs in ([1, 12], [11, 2])]
    assert lists[0] != lists[1]
    alike = trial_id({"a.x": 1, "b.x": 2})
    assert alike != trial_id({"a.x": 2, "b.x": 1}) != trial_id({"b.x": 1, "a.x": 1})
    assert len(trial_id({f"a.key{i}": 0.123456 for i in range(40)})) < 100
    limits = [
        trial_id({"train.limit_train_batches": limit}) for limit in (1, 1.0, 0.1)
    ]  # one batch, all, a tenth
    assert limits == ["limit_train_batches1", "limit_train_batches1.0", "limit_train_batches0.1"]
    assert trial_id({"objective.kld_weight": 1.0}) == "kld_weight1"
