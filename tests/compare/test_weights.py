"""Weights of probes, side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.compare.read import compare
from vgim.compare.weights import (
    excess_kurtosis,
    gini,
    mass,
    published_scale,
    read_weights,
    standardized,
    top_tenth_share,
)
from vgim.compare.weights_picture import density, weights_picture
from vgim.downstream.classifier import CLASSIFIER
from vgim.errors import ConfigError


def test_reading_weights_imports_no_torch() -> None:
    code = "import sys, vgim.compare.weights, safetensors.numpy; print({'torch', 'ray', 'pandas'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def fitted(weight_KC: list[list[float]], std_C: list[float]) -> Any:
    weight_SKC, std_SC = np.array([weight_KC], np.float32), np.array([std_C], np.float32)
    return SimpleNamespace(weight_SKC=weight_SKC, feature_std_SC=std_SC)


def test_gini_is_0_for_even_mass_and_largest_for_one_feature() -> None:
    assert gini(np.full(4, 0.3)) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 2.0])) == pytest.approx(3 / 4)
    assert gini(np.array([1.0, 3])) == pytest.approx(1 / 4)  # mean difference 2 · 1/2, over 2 · mean 2
    assert gini(np.zeros(3)) == 0


def test_the_heaviest_tenth_has_at_least_one_feature() -> None:
    assert top_tenth_share(np.array([1.0, 3])) == pytest.approx(3 / 4)
    assert top_tenth_share(np.arange(20.0)) == pytest.approx((19 + 18) / 190)


def test_gaussian_weights_have_no_excess_kurtosis() -> None:
    weights = np.random.default_rng(0).standard_normal((1, 10, 20_000))
    assert excess_kurtosis(weights) == pytest.approx(0, abs=0.05)
    assert excess_kurtosis(weights**3) > 10


def test_standardized_weights_do_not_depend_on_the_scale_of_features() -> None:
    weights = standardized(fitted([[1, -2], [3, 4]], [1, 1]))
    rescaled = standardized(fitted([[0.1, -200], [0.3, 400]], [10, 0.01]))
    assert weights == pytest.approx(rescaled)
    assert np.square(weights).mean() == pytest.approx(1)
    assert mass(weights)[0] < mass(weights)[1]


def test_the_published_scale_ends_at_minus_1_and_1_in_each_class() -> None:
    assert published_scale(fitted([[0, 1, 4], [-1, 0, 1]], [1, 1, 1])).tolist() == [
        [[-1, -0.5, 1], [-1, 0, 1]]
    ]


def test_a_density_has_area_1_and_equal_weights_have_none() -> None:
    grid = np.linspace(-6, 6, 400)
    values = np.random.default_rng(0).standard_normal(300)
    assert np.trapezoid(density(values, grid), grid) == pytest.approx(1, abs=0.01)
    assert not density(np.ones(5), grid).any()


def test_probes_that_all_runs_have_are_drawn_with_numbers_in_the_table(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    probes, comparison = read_weights(compare([str(run) for run in runs]), "--weights x")
    assert [probe.key for probe in probes] == [("speaker", "", 0, None)]
    assert [weights.run for weights in comparison.weights] == ["one", "two"]
    for scale in ("standardized", "published"):
        (axes,) = weights_picture(probes, scale).axes
        assert [text.get_text()[:9] for text in axes.get_legend().get_texts()] == ["one: Gini", "two: Gini"]
        assert [text.get_text().endswith(" (standardized)") for text in axes.get_legend().get_texts()] == (
            [scale == "published"] * 2
        )
        for line in axes.get_lines():  # a density ends where the axis does
            low, *_, high = line.get_ydata()
            assert max(low, high) < 0.05 * max(line.get_ydata())
    one = CliRunner().invoke(main, ["compare", str(runs[0]), f"--weights={tmp_path}/w.pdf"])
    assert one.exit_code == 0, one.stderr
    assert "probe's weights: speaker, module 3" in one.stdout
    assert (tmp_path / "w.pdf").read_bytes().startswith(b"%PDF")
    plain = CliRunner().invoke(main, ["compare", str(runs[0]), "--json"])
    assert json.loads(plain.stdout)["weights"] == []


def test_probes_without_a_classifier_or_in_one_run_only_are_no_picture(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgim.downstream.classifier.CLASSIFIER", "none.safetensors")
    with pytest.raises(ConfigError, match=f"--weights x, but no probe .* {CLASSIFIER} is common to all runs"):
        read_weights(compare([str(runs[0])]), "--weights x")


def test_options_that_do_not_fit_are_refused(runs: tuple[Path, Path]) -> None:
    for options, words in (
        (["--weight-scale", "published"], "has no effect without --weights"),
        (["--weights", "x.png", "--group-seeds"], "leave out --group-seeds"),
        (["--weights", "w.txt"], "--weights w.txt is neither PNG nor PDF; let FILE end in .png or .pdf"),
        (["--picture", "w.txt"], "--picture w.txt is neither PNG nor PDF"),
    ):
        result = CliRunner().invoke(main, ["compare", str(runs[0]), *options])
        assert result.exit_code == 2
        assert words in result.stderr
