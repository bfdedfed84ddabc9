"""A run's metrics for Prometheus: Ray exports them from the node of rank 0, with `ray_` before each name.

Every gauge has the tag `run`. A module's gauges also have the tag `module`, a stage's the tag `stage`. Ray forgets a
gauge that was not set for two of its reports, 20 seconds, and never exports a value that is not a number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from vgim.runs.metrics import MetricsRecord

RUN_GAUGES = {
    "vgim_step": "Optimizer steps taken",
    "vgim_last_step": "Optimizer step at which the phase ends",
    "vgim_steps_per_second": "Optimizer steps per second",
    "vgim_crops_per_second": "Crops per second, of all workers",
    "vgim_data_wait_ratio": "Share of a step's time that waits for data",
    "vgim_overhead_ratio": "Share of a step's time that is neither in the step nor waiting",
    "vgim_checkpoint_step": "Optimizer step of the newest checkpoint",
    "vgim_checkpoint_timestamp_seconds": "When the newest checkpoint was written, in Unix time",
}
"""Descriptions of a run's gauges by name."""
SOURCE_GAUGES = {
    "vgim_source_step": ("source_step", "Step of the checkpoint of attach.run whose modules are in use"),
    "vgim_source_behind_steps": (
        "source_behind_steps",
        "Steps from it to the newest checkpoint of attach.run",
    ),
    "vgim_source_age_seconds": (
        "source_age_s",
        "Age of the checkpoint of attach.run whose modules are in use",
    ),
}
"""Keys in records, and descriptions, of the gauges of a run with `attach.run`, by name."""
MODULE_GAUGES = {
    "vgim_loss": "Loss of a module over the last steps",
    "vgim_nce": "InfoNCE of a module over the last steps, in nats",
    "vgim_kl_per_element": "KL from N(0, 1) per element of a module's posterior, in nats",
    "vgim_kl_per_frame": "KL from N(0, 1) of a module's posterior per frame, summed over channels, in nats",
    "vgim_active_units": "Share of a module's channels that vary",
    "vgim_validation_nce": "InfoNCE of a module on the validation split, in nats",
    "vgim_validation_loss": "Loss of a module on the validation split",
}
"""Descriptions of a module's gauges by name: `vgim_METRIC` for training, `vgim_validation_METRIC` for validations."""
STAGE_GAUGES = {
    "vgim_stage_steps_per_second": "Optimizer steps per second of a stage",
    "vgim_stage_busy_ratio": "Share of a step's time in which a stage computes",
    "vgim_stage_input_wait_ratio": "Share of a step's time in which a stage waits for latents of the stage before",
    "vgim_stage_output_wait_ratio": "Share of a step's time in which a stage waits for the stage behind",
    "vgim_stage_buffer_fill": "Share of micro-batches that were there when a stage asked for them",
    "vgim_stage_sent_mb_per_second": "Megabytes of latents that a rank of a stage sends in a second",
}
"""Descriptions of the gauges of a stage, under a schedule whose stages have ranks of their own."""
ENDED_GAUGE = "vgim_ended"
"""1 once a run has ended, with the tags `state`, as in run.json, and `error`, the error's class or empty."""
WAITING_GAUGE = "vgim_waiting_seconds"
WAITING_TEXT = "Seconds since a run has been without workers; 0 while they are there"
"""Name and description of the gauge that Ray's controller exports, since rank 0 is not there while a run waits."""
REPEAT_S = 5.0
"""Seconds between two repetitions of all values."""


class Gauges:
    """Sets the gauges of one run; called on rank 0 with each record of its training."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Gauge

        self._run = run
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._gauges = {
            name: Gauge(name, description=text, tag_keys=("run",)) for name, text in RUN_GAUGES.items()
        }
        for name, (_, text) in SOURCE_GAUGES.items():
            self._gauges[name] = Gauge(name, description=text, tag_keys=("run",))
        for name, text in MODULE_GAUGES.items():
            self._gauges[name] = Gauge(name, description=text, tag_keys=("run", "module"))
        for name, text in STAGE_GAUGES.items():
            self._gauges[name] = Gauge(name, description=text, tag_keys=("run", "stage"))
        text = "1 once a run has ended"
        self._gauges[ENDED_GAUGE] = Gauge(ENDED_GAUGE, description=text, tag_keys=("run", "state", "error"))

    def __call__(self, kind: str, record: MetricsRecord) -> None:
        """Set the gauges from a `train` or `validation` record, or from the step of a new `checkpoint`."""
        if kind == "checkpoint":
            self._set("vgim_checkpoint_step", record["step"])
            self._set("vgim_checkpoint_timestamp_seconds", time.time())
            return
        prefix = "vgim_" if kind == "train" else "vgim_validation_"
        for metrics in record["modules"]:
            for name, value in metrics.items():
                if prefix + name in MODULE_GAUGES:
                    self._set(prefix + name, value, module=str(metrics["module"]))
        for stage in record.get("stages", []):
            self._set_stage(stage)
        if kind == "train":
            for gauge, (key, _) in SOURCE_GAUGES.items():
                self._set(gauge, record.get(key))
            step_s = 1 / record["steps_per_s"]
            self._set("vgim_step", record["step"])
            self._set("vgim_last_step", record["last_step"])
            self._set("vgim_steps_per_second", record["steps_per_s"])
            self._set("vgim_crops_per_second", record["crops_per_s"])
            self._set("vgim_data_wait_ratio", record["data_wait_s"] / step_s)
            self._set("vgim_overhead_ratio", record["overhead_s"] / step_s)

    def keep(self) -> None:
        """Repeat all values from a thread until the run ends, so that Ray does not forget those that are seldom set."""
        threading.Thread(target=self._repeat, name="gauges", daemon=True).start()

    def _repeat(self) -> None:
        while not self._is_over.wait(REPEAT_S):
            with self._lock:
                for (name, tags), value in self._values.items():
                    self._gauges[name].set(value, dict(tags))

    def ended(self, state: str, error: Exception | None = None) -> None:
        """Set the gauge of a run's end: how it ended, and by which error; other gauges are not repeated any more."""
        self._is_over.set()
        self._set(ENDED_GAUGE, 1.0, state=state, error="" if error is None else type(error).__name__)

    def _set_stage(self, stage: Mapping[str, float | None]) -> None:
        rate, number = stage["steps_per_s"] or 0.0, str(stage["stage"])
        self._set("vgim_stage_steps_per_second", rate, stage=number)
        for gauge, key in (
            ("busy", "compute_s"),
            ("input_wait", "input_wait_s"),
            ("output_wait", "output_wait_s"),
        ):
            self._set(f"vgim_stage_{gauge}_ratio", (stage[key] or 0.0) * rate, stage=number)
        self._set("vgim_stage_buffer_fill", stage["buffer_fill"], stage=number)
        self._set("vgim_stage_sent_mb_per_second", stage["sent_mb_per_s"], stage=number)

    def _set(self, name: str, value: float | None, **tags: str) -> None:
        if value is not None:
            tags = {"run": self._run, **tags}
            with self._lock:
                self._values[name, tuple(tags.items())] = value
                self._gauges[name].set(value, tags)
