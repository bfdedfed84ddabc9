"""What a launch shows of its run while it trains: how far it is, and events and validations as messages.

The console reads the run's `metrics.jsonl` and asks no worker. It therefore shows the same for a run in this
process, on this machine and on a cluster, and `tail -f` shows no less.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from vgim.config import AnyConfig, RunConfig
from vgim.logs import log_step
from vgim.model.specs import module_specs
from vgim.progress import Progress, Stage
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_follower import MetricsFollower
from vgim.storage import Location

LOCAL_POLL_S, REMOTE_POLL_S = 0.5, 5.0
"""Seconds between two looks at a run on local storage and elsewhere."""


@dataclass(frozen=True)
class Starting:
    """The start of a run's workers, which the console shows before their first step."""

    title: str
    """What is started."""
    waits_for: Callable[[], str | None]
    """Says what the workers wait for now; None once they have begun."""


class Console:
    """Reports a run's new records; a context manager around the training.

    Args:
        run: The run's folder.
        progress: Where to report.
        starting: The workers that must start first, where they are other processes.
        without_kl: Modules without a posterior, whose KL says nothing.
    """

    def __init__(
        self,
        run: Location,
        progress: Progress,
        starting: Starting | None = None,
        without_kl: Collection[int] = (),
    ) -> None:
        self._progress, self._starting, self._without_kl = progress, starting, without_kl
        self._poll_s = LOCAL_POLL_S if run.is_local else REMOTE_POLL_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._follower = MetricsFollower(run, since=time.time())
        self._newest: MetricsRecord | None = None
        """The newest record of a step; None before the first step."""

    def __enter__(self) -> Console:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        starting = self._starting
        if starting is not None:
            with self._progress.stage(starting.title) as stage:
                while (waits_for := starting.waits_for()) is not None and self._goes_on():
                    stage.update(detail=waits_for)
        if self._newest is None and not self._stop.is_set():
            with self._progress.stage("preparing the first step") as stage:
                stage.update(detail="loading weights and data, compiling")
                while self._newest is None and self._goes_on():
                    pass
        if (first := self._newest) is not None and not self._stop.is_set():
            with self._progress.stage(
                "training", total=first["last_step"], unit="step", done=first["step"]
            ) as stage:
                _report(stage, first)
                while self._goes_on():
                    _report(stage, self._newest or first)
                _report(stage, self._newest or first)
        self._look()

    def _goes_on(self) -> bool:
        """Look for new records, after a while; returns False when the training has ended."""
        ended = self._stop.wait(self._poll_s)
        self._look()
        return not ended

    def _look(self) -> None:
        try:
            records = self._follower.new_records()
        except Exception:  # storage that fails must not end the console; the next look may succeed
            return
        for record in records:
            log_step(record["step"])
            if record["kind"] == "event":
                self._progress.message(record["message"])
            elif record["kind"] == "validation":
                self._progress.message(validation_line(record, self._without_kl))
            elif record["kind"] == "train":
                self._newest = record


def modules_without_kl(config: AnyConfig) -> frozenset[int]:
    """Modules of an encoder that have no posterior; none for a decoder, whose records have no KL."""
    if not isinstance(config, RunConfig):
        return frozenset()
    return frozenset(m for m, spec in enumerate(module_specs(config.model)) if not spec.posterior)


def _report(stage: Stage, record: MetricsRecord) -> None:
    detail = step_detail(record)
    if record["step"] >= record["last_step"]:
        detail += "  last step done: validating, writing the checkpoint"
    stage.update(done=record["step"], total=record["last_step"], detail=detail)


def step_detail(record: MetricsRecord) -> str:
    """`epoch 3.40  nce 1.980 2.110 2.030  41.0 crops/s  data wait 1.2%`, KL weights where they are adapted."""
    metric = "nce" if "nce" in record["modules"][0] else "loss"
    values = _values(record, metric, ".3f" if metric == "nce" else ".4g")
    weights = (
        f"  kl weight {_values(record, 'kld_weight', '.2g')}" if "kld_weight" in record["modules"][0] else ""
    )
    return (
        f"epoch {record['epoch']:.2f}  {_first_module(record)}{metric} {values}  "
        f"{record['crops_per_s']:.1f} crops/s  data wait {record['data_wait_s'] * record['steps_per_s']:.1%}"
        f"{weights}{_stages(record)}{_source(record)}"
    )


def _stages(record: MetricsRecord) -> str:
    """`  busy 98% 61%  waits 1% 38%  ready - 12%`: what each stage does where stages have workers of their own.

    Shares of the time in which it computes, and waits for other stages; the share of latents that were there in time.
    """
    stages = record.get("stages")
    if not stages:
        return ""
    rates = [stage["steps_per_s"] for stage in stages]
    busy = [stage["compute_s"] * rate for stage, rate in zip(stages, rates, strict=True)]
    waits = [
        (stage["input_wait_s"] + stage["output_wait_s"]) * rate
        for stage, rate in zip(stages, rates, strict=True)
    ]
    shares = {"busy": busy, "waits": waits, "ready": [stage["buffer_fill"] for stage in stages]}
    return "".join(
        f"  {name} " + " ".join("-" if value is None else format(value, ".0%") for value in values)
        for name, values in shares.items()
    )


def _source(record: MetricsRecord) -> str:
    """`  source step 400, 200 behind, 35 s old`: the modules in use of the run that this one is attached to."""
    if "source_step" not in record:
        return ""
    age = f", {record['source_age_s']:.0f} s old" if "source_age_s" in record else ""
    return f"  source step {record['source_step']}, {record['source_behind_steps']} behind{age}"


def validation_line(record: MetricsRecord, without_kl: Collection[int] = ()) -> str:
    """`step 120  epoch 3  validation: nce 1.98 2.11  accuracy 31% 28%  kl/element 0.03 …  kl/frame 2 …  (40 crops)`.

    Args:
        record: A record of a validation.
        without_kl: Modules whose KL is not shown; where all are, the line has none.
    """
    if "nce" not in record["modules"][0]:
        return _decoder_line(record)
    nce, accuracy = _values(record, "nce", ".3f"), _values(record, "accuracy", ".0%")
    kl = ""
    if any(module["module"] not in without_kl for module in record["modules"]):
        kl = f"kl/element {_values(record, 'kl_per_element', '.3f', without_kl)}  "
        if "kl_per_frame" in record["modules"][0]:  # older records have none
            kl += f"kl/frame {_values(record, 'kl_per_frame', '.3g', without_kl)}  "
    return (
        f"step {record['step']}  epoch {record['epoch']}  validation: "
        f"{_first_module(record)}nce {nce}  accuracy {accuracy}  {kl}({record['crops']} crops)"
    )


def _decoder_line(record: MetricsRecord) -> str:
    """`step 36  epoch 1  validation: module 0 loss 0.0021  si_sdr_db 3.12  log_spectral_…  (40 crops)`."""
    (module,) = record["modules"]
    values = "  ".join(
        f"{name} {'-' if value is None else format(value, '.4g')}"
        for name, value in module.items()
        if name != "module"
    )
    return (
        f"step {record['step']}  epoch {record['epoch']}  validation: module {module['module']} {values}  "
        f"({record['crops']} crops)"
    )


def _values(record: MetricsRecord, name: str, format_spec: str, left_out: Collection[int] = ()) -> str:
    """A metric's value for each module; `-` for a value that was not finite, and for modules that are left out."""
    return " ".join(
        "-" if m[name] is None or m["module"] in left_out else format(m[name], format_spec)
        for m in record["modules"]
    )


def _first_module(record: MetricsRecord) -> str:
    """`module 2 ` for a record whose modules do not start with module 0, else nothing."""
    first = record["modules"][0]["module"]
    return f"module {first} " if first else ""
