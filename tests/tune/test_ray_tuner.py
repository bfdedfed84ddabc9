"""What Tune does with the errors of what it calls, without Ray."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray import tune

from vgim.errors import StorageError
from vgim.storage import Location
from vgim.tune import ray_tuner
from vgim.tune.resources import TrialResources
from vgim.tune.trials import TrialChain


class FailingTuner:
    """Calls the callbacks as Tune does: the traceback of what they raise becomes the text of a `TuneError`."""

    def __init__(self, trainable: object, run_config: Any, **_: object) -> None:
        (self.callback,) = run_config.callbacks

    def fit(self) -> None:
        trial = SimpleNamespace(trial_id="a", config={})
        try:
            self.callback.on_trial_error(0, [], trial)
        except Exception:  # as Tune does
            raise tune.TuneError(traceback.format_exc()) from None
        raise tune.TuneError("of Tune itself")


@pytest.mark.parametrize("is_full", [True, False])
def test_the_end_of_a_trial_that_cannot_be_recorded_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    def on_end(chain: TrialChain, error: str | None) -> None:
        if is_full:
            raise StorageError("cannot write run.json: the file system is read-only")

    monkeypatch.setattr(tune, "Tuner", FailingTuner)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    told = r"^cannot write run\.json: the file system is read-only$" if is_full else "of Tune itself"
    with pytest.raises(StorageError if is_full else tune.TuneError, match=told):
        ray_tuner.fit(
            lambda params: None,
            Location(tmp_path / "tune"),
            cast("TrialResources", SimpleNamespace(driver={"cpu": 1.0})),
            chain_of=lambda trial: TrialChain(()),
            on_end=on_end,
            max_failures=0,
            param_space=None,
        )
