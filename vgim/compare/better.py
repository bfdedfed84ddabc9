"""Which run is better than others by more than the interval of the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vgim.compare.comparison import ComparedProbe, ComparedRun, ComparisonVerdict
from vgim.downstream.probes.registry import TASKS
from vgim.text import join_words
from vgim.verdict.commands import probe_command
from vgim.verdict.figures import RunFigures
from vgim.verdict.probes import Difference, difference, in_points
from vgim.verdict.verdict import NextCommand


def judge_runs(runs: Sequence[ComparedRun], figures: Sequence[RunFigures]) -> ComparisonVerdict | None:
    """Say of each task that several runs were probed on which run is best; None for a single run.

    Each run counts with its best module, or with modules side by side where every run was probed so. Differences have
    the intervals of `vgim.verdict.probes`. InfoNCE decides nothing: a lower one is no better encoder.

    Args:
        runs: The compared runs.
        figures: What the folder of each run says.
    """
    if len(runs) < 2:
        return None
    if not any(_learned(run) for run in runs):
        first = runs[0].verdict
        return ComparisonVerdict(
            sentences=("No module of any run learned, so that no run is better.",), next=first and first.next
        )
    sentences, best = [], list[ComparedRun]()
    for entries in _by_task(runs):
        if len(entries) > 1:
            sentence, winner = _compare(entries)
            sentences.append(sentence)
            best.append(winner)
    if not sentences:
        return _not_probed_alike(runs, figures)
    following = best[0].verdict.next if best[0].verdict is not None else None
    return ComparisonVerdict(sentences=tuple(sentences), next=following)


Entry = tuple[ComparedRun, ComparedProbe]
"""A run and its best result of a task."""


def _learned(run: ComparedRun) -> bool:
    """Whether a module of the run learned, or its figures do not say."""
    modules = run.verdict.modules if run.verdict is not None else ()
    return (
        not modules
        or any(module.state in ("learned", "begun", "unsure") for module in modules)
        or not any(module.nce is not None for module in modules)
    )


def _by_task(runs: Sequence[ComparedRun]) -> list[list[Entry]]:
    """The best trained result of each run, by task, variant and data; the best run first."""
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for run in runs:
        for probe in run.probes:
            if probe.encoder == "trained":
                key = (probe.variant, probe.task, probe.data_fingerprint)
                groups.setdefault(key, []).append((run, probe))
    return [_best_of_each(groups[key]) for key in sorted(groups)]


def _best_of_each(entries: Sequence[Entry]) -> list[Entry]:
    """The best entry of each run; several modules, which have more features, count only if every run has them."""
    with_several = {run.uri for run, probe in entries if probe.concat}
    all_have = with_several == {run.uri for run, _ in entries}
    best: dict[str, Entry] = {}
    for run, probe in sorted(entries, key=lambda entry: entry[1].accuracy):
        if all_have or not probe.concat:
            best[run.uri] = (run, probe)
    return sorted(best.values(), key=lambda entry: entry[1].accuracy, reverse=True)


def _compare(entries: Sequence[Entry]) -> tuple[str, ComparedRun]:
    """A sentence on the best run of a task and on those that are not clearly worse, and the best run."""
    (best, top), *others = entries
    title = top.task + (f" ({top.variant})" if top.variant else "")
    differences = {run.name: difference(top, probe) for run, probe in others}
    return f"{title}: {best_of(best.name, top.accuracy, differences, 'run')}.", best


def best_of(best: str, accuracy: float, differences: Mapping[str, Difference], what: str) -> str:
    """A clause on the best of several encoders, and on what its interval leaves open.

    Args:
        best: Name of the best.
        accuracy: Its accuracy.
        differences: Its accuracy minus each other's, by name; the nearest first.
        what: What is compared: `run` or `group`.
    """
    close = [name for name, found in differences.items() if found.low <= 0]
    if not close:
        nearest = next(iter(differences))
        text = f"{best} is best with {accuracy:.1%}, {in_points(differences[nearest])} better than {nearest}"
        return text + (", the next" if len(differences) > 1 else "")
    gaps = join_words([f"{name} by {in_points(differences[name])}" for name in close])
    others = len(close) < len(differences)
    worse = "only the others are clearly worse" if others else f"no {what} is clearly better"
    return f"{best} ({accuracy:.1%}) leads {gaps}, within the interval: {worse}"


def _not_probed_alike(runs: Sequence[ComparedRun], figures: Sequence[RunFigures]) -> ComparisonVerdict:
    """The verdict on runs of which no two were probed on one task and the same data."""
    if len({run.data_fingerprint for run in runs}) > 1:
        of = next((each for each in figures if each.hours is not None), figures[0])
        what, command = (
            "the same data",
            probe_command([run.uri for run in runs], of.task, shards=of.config.data.shards),
        )
    else:
        task = next((p.task for run in runs for p in run.probes if p.task in TASKS), figures[0].task)
        lacking = [
            run.uri for run in runs if not any(p.task == task and p.encoder == "trained" for p in run.probes)
        ]
        what, command = "one task", probe_command(lacking or [run.uri for run in runs], task)
    return ComparisonVerdict(
        sentences=(
            f"No two runs were probed on {what}, and InfoNCE alone does not say which encoder is better.",
        ),
        next=NextCommand(purpose="measure which encoder is better", command=command),
    )
