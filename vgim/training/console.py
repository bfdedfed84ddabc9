"""The console output of a run: one live progress line, and events and validations above it.

The console reads the run's `metrics.jsonl` and asks no worker. It therefore shows the same for a run in this
process, on this machine and on a cluster, and `tail -f` shows no less.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from vgim.runs.metrics import MetricsRecord, read_metrics
from vgim.storage import Location
from vgim.text import format_clock

POLL_SECONDS = 0.5
PLAIN_SECONDS = 10.0  # between two progress lines if the output is no terminal


class Console:
    """Prints a run's new records; a context manager around the training.

    Args:
        run: the run's folder.
        out: where to print. A terminal gets one line that is rewritten, any other output a line now and then.
    """

    def __init__(self, run: Location, out: TextIO | None = None) -> None:
        self._run = run
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._started = time.time()
        self._printed = 0.0
        self._shown = ""
        # The newest progress that was not printed, which `_follow` prints at the end.
        self._unprinted: MetricsRecord | None = None

    def __enter__(self) -> Console:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._clear()

    def log(self, line: str) -> None:
        """Print a line above the live line."""
        self._clear()
        print(line, file=self._out, flush=True)

    def _follow(self) -> None:
        printed_until = 0.0
        while True:
            last = self._stop.is_set()
            try:
                records = list(read_metrics(self._run))
            except Exception:  # a storage error must not end the console; the next read may succeed
                records = []
            new = [r for r in records if r["time"] > max(printed_until, self._started)]
            for record in new:
                self._show(record, newest=record is new[-1])
                printed_until = record["time"]
            if last:
                if self._unprinted is not None and not self._live:
                    self.log(progress_line(self._unprinted))
                return
            self._stop.wait(POLL_SECONDS)

    def _show(self, record: MetricsRecord, *, newest: bool) -> None:
        if record["kind"] == "event":
            self.log(record["message"])
        elif record["kind"] == "validation":
            self.log(validation_line(record))
        elif newest and self._live:
            self._clear()
            self._shown = progress_line(record)
            self._out.write(self._shown)
            self._out.flush()
        elif not self._live and time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._unprinted = None
            self.log(progress_line(record))
        else:
            self._unprinted = record

    def _clear(self) -> None:
        if self._shown:
            self._out.write("\r\x1b[2K")
            self._shown = ""


def progress_line(record: MetricsRecord) -> str:
    """`step 120/200  epoch 3.40  nce 1.980 2.110 2.030  41.0 crops/s  data wait 1.2%  ETA 0:32`."""
    metric = "nce" if "nce" in record["modules"][0] else "loss"
    values = _values(record, metric, ".3f" if metric == "nce" else ".4g")
    step_s = 1 / record["steps_per_s"]
    eta_s = max(record["last_step"] - record["step"], 0) * step_s
    return (
        f"step {record['step']}/{record['last_step']}  epoch {record['epoch']:.2f}  "
        f"{_first_module(record)}{metric} {values}  "
        f"{record['crops_per_s']:.1f} crops/s  data wait {record['data_wait_s'] / step_s:.1%}  "
        f"ETA {format_clock(eta_s)}"
    )


def validation_line(record: MetricsRecord) -> str:
    """`step 120  epoch 3  validation: nce 1.98 2.11  accuracy 31% 28%  kl/element 0.03 …  kl/frame 2 …  (40 crops)`."""
    if "nce" not in record["modules"][0]:
        return _decoder_line(record)
    nce, accuracy = _values(record, "nce", ".3f"), _values(record, "accuracy", ".0%")
    kl = _values(record, "kl_per_element", ".3f")
    if "kl_per_frame" in record["modules"][0]:  # older records have none
        kl += f"  kl/frame {_values(record, 'kl_per_frame', '.3g')}"
    return (
        f"step {record['step']}  epoch {record['epoch']}  validation: "
        f"{_first_module(record)}nce {nce}  accuracy {accuracy}  kl/element {kl}  ({record['crops']} crops)"
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


def _values(record: MetricsRecord, name: str, format_spec: str) -> str:
    """A metric's value for each module; `-` for a value that was not finite."""
    return " ".join("-" if m[name] is None else format(m[name], format_spec) for m in record["modules"])


def _first_module(record: MetricsRecord) -> str:
    """`module 2 ` for a record whose modules do not start with module 0, else nothing."""
    first = record["modules"][0]["module"]
    return f"module {first} " if first else ""
