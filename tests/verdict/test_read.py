"""The figures that a run's folder holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verdict.verdict_cases import config
from vgim.config import ResolvedConfig, load_config
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import MetricsRecord
from vgim.storage import Location
from vgim.verdict.figures import Measurement
from vgim.verdict.read import module_figures, read_figures


def train(step: int, *nce: float | None, first: int = 0, **more: float) -> MetricsRecord:
    """A record of 8 crops a step, of the modules from `first` on."""
    modules = [{"module": first + m, "nce": value, "active_units": 0.5} for m, value in enumerate(nce)]
    speed = {"steps_per_s": 2.0, "crops_per_s": 16.0, "kld_weight": 1e-4}
    return {"kind": "train", "step": step, "epoch": step / 10, "modules": modules, **speed, **more}


def validation(step: int, *nce: float, **more: float) -> MetricsRecord:
    modules = [{"module": m, "nce": value, "active_units": 0.25} for m, value in enumerate(nce)]
    return {"kind": "validation", "step": step, "epoch": step // 10, "crops": 40, "modules": modules, **more}


def test_the_latest_validation_and_the_last_tenth_of_training_count() -> None:
    records = [train(step, 2.4 - step / 100, 2.4) for step in (1, *range(10, 101, 10))]
    records += [validation(50, 2.0, 2.2), validation(100, 1.5, 2.3)]
    first, *_ = module_figures(config(), records)
    assert first.validation == Measurement(1.5, 40)
    assert first.training == Measurement(pytest.approx(1.4), 80)  # steps 91 to 100
    assert (first.steps, first.kld_weight, first.active_units) == (100, 1e-4, 0.25)
    assert first.validations == ((50, 2.0), (100, 1.5))
    assert len(first.curve) == 11


def test_modules_that_are_trained_one_after_the_other_count_their_own_steps() -> None:
    records = [train(10, 2.0), train(20, 1.9), train(21, 2.3, first=1), train(60, 2.2, first=1)]
    first, second, third = module_figures(config(), records)
    assert [module.steps for module in (first, second, third)] == [20, 40, 0]
    assert third.training is None
    assert second.training == Measurement(pytest.approx((39 * 2.2) / 39), 312)


def test_a_loss_that_was_not_finite_is_kept_as_such() -> None:
    (first, *_) = module_figures(config(), [train(1, 2.0), train(2, None)])
    assert first.training == Measurement(None, None)


@pytest.mark.parametrize(("words", "has_event"), [(["collapsed"], True), (["collapsed", "recovered"], False)])
def test_the_latest_event_on_a_collapse_counts(words: list[str], has_event: bool) -> None:
    events = [{"kind": "event", "step": 1, "message": f"module 1 has {word} at step 1"} for word in words]
    modules = module_figures(config(), events)
    assert [module.has_collapse_event for module in modules] == [False, has_event, False]


@pytest.mark.parametrize(
    ("family", "expected"), [("sim", [True, True, False]), ("gim", [False] * 3), ("cpc", [False])]
)
def test_a_module_has_a_posterior_where_it_is_built_with_one(family: str, expected: list[bool]) -> None:
    assert [module.has_posterior for module in module_figures(config(family=family), [])] == expected


def test_a_crop_has_as_many_spans_as_prediction_steps_fit_into_its_window() -> None:
    assert [module.num_spans for module in module_figures(config(), [])] == [
        10,
        10,
        10,
    ]  # 128 frames, 12 steps
    listed = config().objective.model_copy(update={"prediction_steps": (32, 64, 200)})
    of_each = module_figures(config().model_copy(update={"objective": listed}), [])
    assert [module.num_spans for module in of_each] == [4, 2, 1]


def test_a_trained_run_is_read_with_its_progress_and_its_data(probed_run: Path) -> None:
    figures = read_figures(Location(probed_run))
    assert figures is not None
    assert (figures.state, figures.step, figures.epoch, figures.task) == ("finished", 20, 2, "phone")
    assert [module.validation is not None for module in figures.modules] == [True] * 4
    assert figures.modules[0].kld_weight == pytest.approx(0.001)
    assert figures.hours is not None
    assert not figures.has_latents
    assert not figures.has_decoder


def test_a_folder_without_a_run_has_no_figures(tmp_path: Path) -> None:
    assert read_figures(Location(tmp_path)) is None


def test_a_run_of_one_step_is_read(tiny_config: Callable[..., ResolvedConfig]) -> None:
    resolved = tiny_config()
    folder = Location(resolved.config.storage.root).child("run")
    RunFolder(folder).claim(resolved.config, "0" * 64)
    figures = read_figures(folder)
    assert figures is not None
    assert (figures.step, figures.trained) == (0, ())


@pytest.mark.parametrize(
    ("words", "lasts"),
    [
        (("quickstart", "storage.name=run"), True),
        (
            ("quickstart", "storage.name=run", "model.channels=32"),
            False,
        ),  # as if the preset's channels had changed
        (("no-such-preset", "storage.name=run"), False),
    ],
)
def test_a_command_whose_preset_has_changed_since_counts_as_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], lasts: bool
) -> None:
    command = ("vgim", "train", *words, "--init-from", "/runs/a=b", "train.epochs=3")
    monkeypatch.setattr(sys, "argv", list(command))
    began = load_config("quickstart", ["storage.name=run", f"storage.root={tmp_path}"]).config
    RunFolder(Location(tmp_path / "run")).claim(began, "0" * 64)
    figures = read_figures(Location(tmp_path / "run"))
    assert figures is not None
    assert figures.command == (command if lasts else ())


def test_reading_a_verdict_imports_no_torch() -> None:
    code = (
        "import vgim.verdict.console, sys; print({'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_damaged_rates_and_steps_that_fall_make_no_number() -> None:
    records = [train(20, 2.0, steps_per_s=1e-300, crops_per_s=9e18)]
    (module,) = module_figures(config(family="cpc"), records)
    assert module.training == Measurement(2.0, None)
    (module,) = module_figures(config(family="cpc"), [validation(30, 2.0), train(40, 2.0), train(10, 2.0)])
    assert module.steps == 0
