"""What a person sees of a run: one live line, and sentences above it, read from the run's `metrics.jsonl`.

The console follows the file, not the workers, so that it is the same for a run in this process, on this machine
and on a cluster, and `tail -f` shows no less.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from vgim.runs.layout import METRICS
from vgim.runs.metrics import MetricsRecord, parse_record
from vgim.storage import Location

POLL_SECONDS = 0.5
PLAIN_SECONDS = 10.0  # between two progress lines where the output is no terminal


class Console:
    """Follows a run from the end of what is there; a context manager around the training.

    Args:
        run: its folder.
        out: where to print; a terminal gets one line that is rewritten, anything else a line now and then.
    """

    def __init__(self, run: Location, out: TextIO | None = None) -> None:
        self._place = run.child(METRICS)
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._started = time.time()
        self._printed = 0.0
        self._shown = ""
        self._untold: MetricsRecord | None = (
            None  # the newest progress that was not printed: it is at the end
        )

    def __enter__(self) -> Console:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._clear()

    def say(self, sentence: str) -> None:
        """Print a sentence above the live line."""
        self._clear()
        print(sentence, file=self._out, flush=True)

    def _follow(self) -> None:
        seen = 0.0
        while True:
            last = self._stop.is_set()
            try:
                lines = self._place.read_text().splitlines() if self._place.exists() else []
            except Exception:  # storage that stutters must not end the console; the next look may succeed
                lines = []
            fresh = [
                r for r in map(parse_record, lines) if r is not None and r["time"] > max(seen, self._started)
            ]
            for record in fresh:
                self._show(record, newest=record is fresh[-1])
                seen = record["time"]
            if last:
                if self._untold is not None and not self._live:
                    self.say(progress_line(self._untold))
                return
            self._stop.wait(POLL_SECONDS)

    def _show(self, record: MetricsRecord, *, newest: bool) -> None:
        if record["kind"] == "event":
            self.say(record["message"])
        elif record["kind"] == "validation":
            self.say(validation_line(record))
        elif newest and self._live:
            self._clear()
            self._shown = progress_line(record)
            self._out.write(self._shown)
            self._out.flush()
        elif not self._live and time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._untold = None
            self.say(progress_line(record))
        else:
            self._untold = record

    def _clear(self) -> None:
        if self._shown:
            self._out.write("\r\x1b[2K")
            self._shown = ""


def progress_line(record: MetricsRecord) -> str:
    """`step 120/200  epoch 3.40  nce 1.980 2.110 2.030  41.0 crops/s  data wait 1.2%  ETA 0:32`."""
    figure = "nce" if "nce" in record["modules"][0] else "loss"
    shown = _figures(record, figure, ".3f" if figure == "nce" else ".4g")
    per_step = 1 / record["steps_per_s"]
    eta = max(record["last_step"] - record["step"], 0) * per_step
    return (
        f"step {record['step']}/{record['last_step']}  epoch {record['epoch']:.2f}  {_which(record)}{figure} {shown}  "
        f"{record['crops_per_s']:.1f} crops/s  data wait {record['data_wait_s'] / per_step:.1%}  "
        f"ETA {clock(eta)}"
    )


def validation_line(record: MetricsRecord) -> str:
    """`step 120  epoch 3  validation: nce 1.98 2.11  accuracy 31% 28%  kl/element 0.03 0.04  (40 crops)`."""
    if "nce" not in record["modules"][0]:
        return _decoder_line(record)
    nce, accuracy = _figures(record, "nce", ".3f"), _figures(record, "accuracy", ".0%")
    kl = _figures(record, "kl_per_element", ".3f")
    return (
        f"step {record['step']}  epoch {record['epoch']}  validation: {_which(record)}nce {nce}  accuracy {accuracy}  "
        f"kl/element {kl}  ({record['crops']} crops)"
    )


def _decoder_line(record: MetricsRecord) -> str:
    """`step 36  epoch 1  validation: module 0 loss 0.0021  si_sdr_db 3.12  log_spectral_…  (40 crops)`."""
    (module,) = record["modules"]
    figures = "  ".join(
        f"{name} {'-' if value is None else format(value, '.4g')}"
        for name, value in module.items()
        if name != "module"
    )
    return (
        f"step {record['step']}  epoch {record['epoch']}  validation: module {module['module']} {figures}  "
        f"({record['crops']} crops)"
    )


def _figures(record: MetricsRecord, name: str, form: str) -> str:
    """One figure of each module; `-` for one that was not finite."""
    return " ".join("-" if m[name] is None else format(m[name], form) for m in record["modules"])


def _which(record: MetricsRecord) -> str:
    """Which modules the figures are of, where they are not all from the first on."""
    first = record["modules"][0]["module"]
    return f"module {first} " if first else ""


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
