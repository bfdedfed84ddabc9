"""What the results of a sweep say: which trial is best, if any learned, and the command to run next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vgim.config import RunConfig
from vgim.config.keys import dump, flatten
from vgim.config.load import ENDED_BY_OTHERS
from vgim.config.yaml_text import to_flow
from vgim.downstream.result import Interval
from vgim.downstream.result_table import in_percent
from vgim.runs.layout import PROBES
from vgim.storage import Location
from vgim.text import first_few, plural
from vgim.verdict.commands import MUCH_LONGER, probe_command, round_up
from vgim.verdict.learning import LEVELS
from vgim.verdict.probes import difference, in_points
from vgim.verdict.read import task_of
from vgim.verdict.verdict import ModuleState, NextCommand, VerdictRecord

if TYPE_CHECKING:
    from vgim.tune.results import SweepResult, TrialResult
    from vgim.tune.sweep_file import Sweep

NOT_LEARNED: tuple[ModuleState, ...] = tuple(
    state for state in LEVELS if state not in ("learned", "begun", "unsure")
)
"""States of a module whose trial cannot be the best one."""


class SweepVerdict(VerdictRecord):
    """The sentences on a sweep."""

    best: str | None
    """Id of the best trial whose measured module learned; None if no finished trial's did."""
    sentences: tuple[str, ...]
    next: NextCommand | None


class _Score(NamedTuple):
    accuracy: float
    interval_over_utterances: Interval


def is_at_chance(trial: TrialResult) -> bool:
    """Whether the module that is measured did not learn; False where that is not known."""
    return trial.module_state in NOT_LEARNED


def judge_sweep(result: SweepResult, ranked: Sequence[TrialResult], sweep: Sweep) -> SweepVerdict:
    """Say which trial is best and by how much. A trial that is at chance is never the best one.

    Args:
        result: The results; its own verdict is not read.
        ranked: Finished trials with a metric, best first.
        sweep: The sweep that has these results.
    """
    learned = [trial for trial in ranked if not is_at_chance(trial)]
    at_chance = [trial for trial in ranked if is_at_chance(trial)]
    if not ranked:
        return SweepVerdict(
            best=None,
            sentences=("No trial has finished with a metric, so that none is best yet.",),
            next=None,
        )
    if not learned:
        following = None
        if all(trial.state in ("finished", "stopped") for trial in result.trials):
            following = _longer(sweep)
        return SweepVerdict(best=None, sentences=(_all_at_chance(result, ranked),), next=following)
    best, *others = learned
    sentences = [_best(result, best, others)]
    if at_chance:
        names = first_few(trial.id for trial in at_chance)
        sentences.append(f"Finished trials at chance, which do not count: {len(at_chance)} ({names}).")
    return SweepVerdict(best=best.id, sentences=tuple(sentences), next=_probe(result, best, sweep.base))


def _all_at_chance(result: SweepResult, ranked: Sequence[TrialResult]) -> str:
    values = [nce for trial in ranked if (nce := trial.nce[result.metric.module % trial.depth]) is not None]
    shown = ""
    if values:
        low, high = f"{min(values):.3f}", f"{max(values):.3f}"
        shown = f" (validation InfoNCE {low if low == high else f'{low} to {high}'} nats)"
    who = "Both finished trials are" if len(ranked) == 2 else f"All {len(ranked)} finished trials are"
    who = "The finished trial is" if len(ranked) == 1 else who
    steps = max(trial.step for trial in ranked)
    return f"{who} at chance{shown} after {steps:,} steps: the metric orders noise, and no trial is best."


def _best(result: SweepResult, best: TrialResult, others: Sequence[TrialResult]) -> str:
    """A sentence on the best trial, and on those that are within the interval of the difference."""
    value = _shown(result, best)
    if not others:
        return f"{best.id} is best, with {value}; no other finished trial learned."
    score = _score(best)
    scores = [(trial, other) for trial in others if (other := _score(trial)) is not None]
    if score is None or not scores:
        return (
            f"{best.id} is best, with {value}; next is {others[0].id} with {_shown(result, others[0])}. One run of "
            "each gives no interval: small differences may be chance."
        )
    close = [trial.id for trial, other in scores if difference(score, other).low <= 0]
    if close:
        of_others = f"{len(close)} of {plural(len(others), 'other trial')} that learned"
        return f"{best.id} has the best metric, {value}, and {of_others} cannot be told from it: {first_few(close)}."
    nearest, other = scores[0]
    return f"{best.id} is best, with {value}: {in_points(difference(score, other))} better than {nearest.id}, the next."


def _shown(result: SweepResult, trial: TrialResult) -> str:
    """The metric with its unit, and its interval if it has one."""
    if result.metric.kind == "nce":
        return f"InfoNCE {trial.metric:.3f} nats"
    interval = f" (95 %: {in_percent(trial.interval)})" if trial.interval is not None else ""
    return f"{trial.metric:.1%} of {result.metric.task}s right{interval}"


def _score(trial: TrialResult) -> _Score | None:
    if trial.metric is None or trial.interval is None:
        return None
    return _Score(trial.metric, trial.interval)


def _longer(sweep: Sweep) -> NextCommand | None:
    """The command of a longer sweep, from the files in the sweep's folder; None if they lie on remote storage."""
    folder, train = sweep.folder, sweep.base.train
    if not folder.is_local:
        return None
    if train.max_steps:
        change = f"train.max_steps={round_up(MUCH_LONGER * train.max_steps)}"
    elif train.module_epochs:
        more = ",".join(str(MUCH_LONGER * epochs) for epochs in train.module_epochs)
        change = f"train.module_epochs=[{more}]"
    else:
        change = f"train.epochs={round_up(math.ceil(MUCH_LONGER * train.epochs))}"
    words = ["vgim", "sweep", folder.child("sweep.yaml").uri, f"base={folder.child('base.yaml').uri}"]
    # The base has the overrides already; relative paths among them would be read from another folder. The base is a
    # preset now, whose keys a value of the space may end, unless they are asked for again.
    base = flatten(dump(sweep.base))
    asked = [f"{key}={to_flow(base[key])}" for key in ENDED_BY_OTHERS if key in sweep.asked_keys]
    words += ["overrides=[]", *asked, change, f"name={folder.name}-longer"]
    return NextCommand(purpose="see whether longer trials learn", command=shlex.join(words))


def _probe(result: SweepResult, best: TrialResult, base: RunConfig) -> NextCommand:
    """Probe the best trial on the test split, or write its page if that was done."""
    run = Location(best.run)
    if run.child(PROBES).list():
        return NextCommand(purpose="see the best trial's page", command=f"vgim report {shlex.quote(run.uri)}")
    task = result.metric.task if result.metric.kind == "probe" else task_of(base.data.shards)
    return NextCommand(
        purpose="measure the best trial on the test split, beside baselines",
        command=probe_command(run.uri, task),
    )
