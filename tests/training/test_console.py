"""The console: how far a run is as a stage, events and validations as messages, from what the run records."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import Recorded
from tests.waiting import wait_until
from vgim.config import load_config
from vgim.errors import StorageError
from vgim.runs.metrics_follower import MetricsFollower
from vgim.storage import Location
from vgim.training import console
from vgim.training.console import Console, Starting, modules_without_kl, step_detail, validation_line


def module(number: int, nce: float | None, accuracy: float = 0.3125) -> dict[str, Any]:
    return {"module": number, "nce": nce, "accuracy": accuracy, "kl_per_element": 0.0314, "loss": nce}


def train_record(step: int, *modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "last_step": 200,
        "epoch": 3.4,
        "steps_per_s": 2.5,
        "crops_per_s": 20.0,
        "data_wait_s": 0.004,
        "modules": list(modules or (module(0, 1.98), module(1, 2.11))),
        "time": time.time(),
    }


def validation_record(step: int, *modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "validation",
        "step": step,
        "epoch": 3,
        "crops": 40,
        "loss": 2.0,
        "modules": list(modules or (module(0, 1.98), module(1, 2.11, 0.28))),
        "time": time.time(),
    }


def test_the_detail_names_the_module_if_the_first_one_does_not_train() -> None:
    assert "  module 2 nce 1.500  " in step_detail(train_record(1, module(2, 1.5)))


def test_the_validation_line_has_the_metrics_of_each_module() -> None:
    assert validation_line(validation_record(120)) == (
        "step 120  epoch 3  validation: nce 1.980 2.110  accuracy 31% 28%  kl/element 0.031 0.031  (40 crops)"
    )


def test_the_validation_line_has_no_kl_of_modules_without_a_posterior() -> None:
    record = validation_record(120)
    assert "kl/element - " in validation_line(record, {0})
    assert "kl" not in validation_line(record, {0, 1})


def test_the_gru_and_every_module_of_a_gim_are_without_kl() -> None:
    assert modules_without_kl(load_config("quickstart").config) == {3}
    gim = load_config("quickstart", ["model.family=gim", "objective.kld_weight=0"]).config
    assert modules_without_kl(gim) == {0, 1, 2, 3}


def test_the_validation_line_has_nats_a_frame_where_the_record_has_them() -> None:
    modules = ({**module(0, 1.98), "kl_per_frame": 16.08}, {**module(1, 2.11), "kl_per_frame": None})
    assert "  kl/element 0.031 0.031  kl/frame 16.1 -  (" in validation_line(validation_record(120, *modules))


def test_metrics_that_are_not_finite_are_shown_as_dashes() -> None:
    assert "nce 1.980 -  " in step_detail(train_record(1, module(0, 1.98), module(1, None)))
    assert "nce - 2.110  " in validation_line(validation_record(1, module(0, None), module(1, 2.11)))


def test_kl_weights_that_follow_a_target_rate_stand_behind_the_step() -> None:
    modules = ({**module(0, 1.98), "kld_weight": 0.0031}, {**module(1, 2.11), "kld_weight": None})
    assert step_detail(train_record(1, *modules)).endswith("%  kl weight 0.0031 -")
    assert "kl weight" not in step_detail(train_record(1, module(0, 1.98)))


def test_what_each_stage_does_stands_behind_the_step() -> None:
    first = {
        "steps_per_s": 2.0,
        "compute_s": 0.49,
        "input_wait_s": 0.0,
        "output_wait_s": 0.005,
        "buffer_fill": None,
    }
    second = {
        "steps_per_s": 2.0,
        "compute_s": 0.3,
        "input_wait_s": 0.18,
        "output_wait_s": 0.01,
        "buffer_fill": 0.125,
    }
    record = {**train_record(1, module(0, 1.98)), "stages": [first, second]}
    assert step_detail(record).endswith("%  busy 98% 60%  waits 1% 38%  ready - 12%")
    assert "busy" not in step_detail(train_record(1, module(0, 1.98)))


def test_how_far_behind_its_source_a_run_is_stands_behind_the_step() -> None:
    source = {"source_step": 400, "source_behind_steps": 200, "source_age_s": 34.6}
    record = train_record(1, module(3, 1.98))
    assert step_detail({**record, **source}).endswith("  source step 400, 200 behind, 35 s old")
    del source["source_age_s"]  # the checkpoint is deleted already
    assert step_detail({**record, **source}).endswith("  source step 400, 200 behind")
    assert "source" not in step_detail(record)


def follow(folder: Path, *records: dict[str, Any], starting: Starting | None = None) -> Recorded:
    """What a console reports of records that are written one after the other while it runs."""
    path, heard = folder / "metrics.jsonl", Recorded()
    with Console(Location(folder), heard, starting), path.open("a") as lines:
        for record in records:
            lines.write(json.dumps({**record, "time": time.time()}) + "\n")
            lines.flush()
            if record["kind"] == "train":
                step = record["step"]
                wait_until(
                    lambda step=step: heard.titles[-1:] == ["training"] and heard.stages[-1].done == step,
                    f"step {step}",
                )
            else:
                message = record.get("message", "validation:")
                wait_until(lambda message=message: message in "".join(heard.messages), message)
    return heard


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LOCAL_POLL_S", 0.01)


def event(message: str) -> dict[str, Any]:
    return {"kind": "event", "step": 1, "message": message}


def test_events_and_validations_are_messages_and_steps_are_a_stage(tmp_path: Path) -> None:
    heard = follow(
        tmp_path, event("first"), train_record(10), validation_record(10), train_record(20), event("last")
    )
    assert [message.split()[0] for message in heard.messages] == ["first", "step", "last"]
    training = heard.of("training")
    assert (training.unit, training.total, training.dones[0], training.done) == ("step", 200, 10, 20)
    assert training.detail == "epoch 3.40  nce 1.980 2.110  20.0 crops/s  data wait 1.0%"


def test_before_the_first_step_the_console_says_what_is_done(tmp_path: Path) -> None:
    heard = follow(tmp_path, event("weights drawn afresh"))
    assert heard.titles == ["preparing the first step"]
    assert "compiling" in heard.stages[0].detail


def test_workers_that_start_are_waited_for_until_one_has_begun(tmp_path: Path) -> None:
    answers = iter(["waiting for 2 x 1 CPU", "each imports torch", None])
    heard = follow(tmp_path, train_record(1), starting=Starting("starting 2 workers", lambda: next(answers)))
    assert heard.titles[0] == "starting 2 workers"
    assert heard.titles[-1] == "training"
    assert heard.stages[0].details == ["waiting for 2 x 1 CPU", "each imports torch"]


def test_a_run_that_ends_before_its_workers_have_begun_ends_the_console(tmp_path: Path) -> None:
    assert follow(tmp_path, starting=Starting("starting 2 workers", lambda: "slow")).titles == [
        "starting 2 workers"
    ]


def test_after_the_last_step_the_console_says_what_is_left(tmp_path: Path) -> None:
    heard = follow(tmp_path, train_record(199), train_record(200))
    assert heard.of("training").detail.endswith("  last step done: validating, writing the checkpoint")


def test_records_of_an_earlier_launch_are_not_shown_again(tmp_path: Path) -> None:
    old = {**event("from yesterday"), "time": time.time() - 86_400}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n" + '{"kind": "tr')
    heard = follow(tmp_path)
    assert heard.messages == []


def test_storage_that_fails_does_not_end_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    read = MetricsFollower.new_records

    def fails_twice(follower: MetricsFollower) -> list[Any]:
        calls.append(1)
        if len(calls) < 3:
            raise StorageError("the disk is gone")
        return read(follower)

    monkeypatch.setattr(MetricsFollower, "new_records", fails_twice)
    heard = follow(tmp_path, event("seen after all"))
    assert heard.messages == ["seen after all"]
