"""Whether a trained encoder is better than an untrained one and than MFCCs, and by how much.

The best module of the trained encoder is compared with the best module of the untrained one, and with MFCCs. The
interval of a difference a − b comes from the two intervals that the probes have, by squaring and adding (Newcombe 1998,
method 10; Zou and Donner 2008): from (a − b) − √((a − a_low)² + (b_high − b)²) to (a − b) + √((a_high − a)² +
(b − b_low)²). It takes the two as independent. Both are tested on the same utterances, so the interval errs to wide
ones: a difference beyond it is one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from vgim.downstream.result import Interval, ProbeResult
from vgim.downstream.result_table import in_percent
from vgim.downstream.stored import variant
from vgim.text import join_words
from vgim.verdict.verdict import Finding

BASELINES = {"random": "the untrained encoder", "mfcc": "MFCC"}
"""Encoders that a trained one is compared with, in words."""


class Accuracy(Protocol):
    """An accuracy with its interval: a `ProbeResult`, or what a comparison keeps of one."""

    @property
    def accuracy(self) -> float: ...
    @property
    def interval_over_utterances(self) -> Interval: ...


class Difference(NamedTuple):
    """A difference of two accuracies, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


class Probed(NamedTuple):
    """The results of one task in one setting."""

    task: str
    variant: str
    best: ProbeResult
    """The best reading of the trained encoder: a module, a layer, or several modules side by side."""
    baselines: dict[str, ProbeResult]
    """The best result of each kind of baseline."""
    unmatched: ProbeResult | None = None
    """The best reading of several modules, where the untrained encoder has none of these modules to compare it with."""


def difference(a: Accuracy, b: Accuracy) -> Difference:
    """The accuracy of `a` minus the accuracy of `b`."""
    one, other = a.interval_over_utterances, b.interval_over_utterances
    value = a.accuracy - b.accuracy
    below = math.hypot(a.accuracy - one.low, other.high - b.accuracy)
    above = math.hypot(one.high - a.accuracy, b.accuracy - other.low)
    return Difference(value, value - below, value + above)


def in_points(difference: Difference) -> str:
    """`4.2 points (1.0 to 7.5)`, of the larger minus the smaller accuracy if the difference is clear."""
    value, low, high = (100 * number for number in difference)
    if difference.high < 0:
        value, low, high = -value, -high, -low
    return f"{value:.1f} points ({low:.1f} to {high:.1f})"


def probed_tasks(results: Iterable[ProbeResult]) -> list[Probed]:
    """The tasks that the trained encoder was probed on, with the default options first."""
    groups: dict[tuple[str, str, str], list[ProbeResult]] = {}
    for result in results:
        groups.setdefault((variant(result), result.task, result.data_fingerprint), []).append(result)
    tasks = []
    for (words, task, _), group in sorted(groups.items()):
        by_encoder: dict[str, ProbeResult] = {}
        matched, unmatched = _matched(group)
        for result in sorted(matched, key=lambda r: r.accuracy):
            by_encoder[result.encoder] = result
        trained = by_encoder.pop("trained", None)
        if trained is not None:
            tasks.append(Probed(task, words, trained, by_encoder, unmatched))
    return tasks


def _matched(group: Sequence[ProbeResult]) -> tuple[list[ProbeResult], ProbeResult | None]:
    """Results of a task that compare, and the best of those of several modules that only the trained encoder has.

    Several modules have more features than one: beside an untrained encoder of which modules alone were probed, their
    gain would count as the training's.
    """
    untrained = [result for result in group if result.encoder == "random"]
    has_modules = any(r.encoder == "trained" and not r.concat for r in group)
    if not untrained or not has_modules:
        return list(group), None
    of_untrained = {result.concat for result in untrained}
    alone = [r for r in group if r.encoder == "trained" and r.concat and r.concat not in of_untrained]
    best = max(alone, key=lambda result: result.accuracy, default=None)
    return [result for result in group if result not in alone], best


def probe_finding(probed: Probed) -> Finding:
    """Say how a task's accuracy compares with the baselines."""
    best = probed.best
    off = best.output.name
    setting = re.sub(r"\bfirst(\d+)\b", r"\1 training utterances", probed.variant)
    name = (
        f"{probed.task.capitalize()} probe"
        if best.is_fitted
        else f"ABX {probed.task.removeprefix('abx-')} speakers"
    )
    title = name + (f" ({setting})" if setting else "")
    text = f"{title}: {best.accuracy:.1%} (95 %: {in_percent(best.interval_over_utterances)})"
    text += f" from {off}" if off else ""
    differences = {
        kind: difference(best, probed.baselines[kind]) for kind in BASELINES if kind in probed.baselines
    }
    clauses = [compared_with(BASELINES[kind], found) for kind, found in differences.items()]
    if clauses:
        text += ", " + join_words(clauses)
    if missing := missing_baselines(probed):
        text += f"; not compared with {join_words([BASELINES[kind] for kind in missing])}, without which it says little"
    if best.interval_over_utterances.low <= best.majority:
        guess = "naming the most frequent class alone" if best.is_fitted else "deciding at random"
        text += f"; {guess} gives {best.majority:.1%}"
    if probed.unmatched is not None:
        text += (
            f"; {probed.unmatched.accuracy:.1%} from {probed.unmatched.output.name}, on which the untrained encoder "
            "was not probed (--concat)"
        )
    is_better = all(found.low > 0 for found in differences.values())
    level = "open" if missing or not is_better else "good"
    untrained = differences.get("random")
    if best.interval_over_utterances.low <= best.majority or (untrained is not None and untrained.low <= 0):
        level = "bad"
    return Finding(about="probe", level=level, text=f"{text}.")


def missing_baselines(probed: Probed) -> list[str]:
    """The baselines that a task was not probed with."""
    return [kind for kind in BASELINES if kind not in probed.baselines]


def old_probes(probed: Sequence[Probed], step: int) -> Finding | None:
    """A finding if the probes are of an earlier checkpoint than the run's step."""
    steps = [p.best.step for p in probed if p.best.step is not None]
    if not steps or max(steps) >= step:
        return None
    return Finding(
        about="probe",
        level="open",
        text=f"The probes are of step {max(steps):,}, and the run is at step {step:,}.",
    )


def compared_with(baseline: str, found: Difference) -> str:
    """A clause on an accuracy minus a baseline's: `4.2 points (1.0 to 7.5) better than MFCC`."""
    if found.low > 0:
        return f"{in_points(found)} better than {baseline}"
    if found.high < 0:
        return f"{in_points(found)} worse than {baseline}"
    value, low, high = (100 * number for number in found)
    return f"not clearly different from {baseline} ({value:+.1f} points, {low:+.1f} to {high:+.1f})"
