"""What groups of runs over several seeds say: which learned, which is better, and than which baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vgim.compare.better import best_of
from vgim.compare.cells import Cell, Row
from vgim.compare.columns import Column, groups_of
from vgim.compare.comparison import ComparedRun, ComparisonVerdict
from vgim.compare.crossed import Estimate, estimate, paired_difference
from vgim.compare.grouped import GroupedComparison
from vgim.compare.grouped_table import task_title
from vgim.compare.hits import WHOLE
from vgim.config import RunConfig
from vgim.downstream.probes.registry import TASKS
from vgim.downstream.result import Interval
from vgim.downstream.result_table import in_percent
from vgim.text import join_words, plural
from vgim.verdict.commands import probe_command
from vgim.verdict.probes import BASELINES, Difference, compared_with, difference
from vgim.verdict.read import task_of
from vgim.verdict.verdict import NextCommand

READ_BY_ALL = ("trained", "random")
"""Encoders that must all have a reading of several modules for it to be compared."""

Cells = Mapping[Row, Mapping[Column, Cell]]
Configs = Mapping[str, Sequence[RunConfig]]


def judge_groups(
    comparison: GroupedComparison, runs: Mapping[str, Sequence[ComparedRun]], cells: Cells, configs: Configs
) -> ComparisonVerdict:
    """Say which modules of each group learned, and for each task which group is best at its best depth.

    Differences are paired by seed and test utterance where both have the same; else their intervals come from those of
    both accuracies (Newcombe 1998).

    Args:
        comparison: The comparison; its own verdict is not read.
        runs: The runs of each group.
        cells: Right answers by row and column.
        configs: Configs of each group's runs.
    """
    sentences = [sentence for name, of_group in runs.items() if (sentence := _learned(name, of_group))]
    leaders = []
    for task, words, part in comparison.tasks():
        best = _best_depths(cells, (task, words, part), configs) if part == WHOLE else []
        if best:
            sentences.append(_on_task(task_title(comparison, task, words, part), best, cells, configs))
            leaders.append(best[0].group)
    return ComparisonVerdict(sentences=tuple(sentences), next=_next(runs, leaders, configs))


class _Best(NamedTuple):
    """A group's trained encoder at the depth where it is best on a task."""

    group: str
    row: Row
    cell: Cell
    accuracy: Estimate


class _Score(NamedTuple):
    """An accuracy as `vgim.verdict.probes` compares it."""

    accuracy: float
    interval_over_utterances: Interval


def _learned(name: str, runs: Sequence[ComparedRun]) -> str | None:
    """A sentence on how many runs of a group learned at each module; None if their figures do not say."""
    judged = [run.verdict.modules for run in runs if run.verdict is not None and run.verdict.modules]
    if not judged:
        return None
    counts = [
        sum(module.state == "learned" for module in of_module) for of_module in zip(*judged, strict=True)
    ]
    if min(counts) == len(judged):
        what = "the module" if len(counts) == 1 else "every module"
        return f"{name}: {what} learned in {_all_of(len(judged))}."
    numbers = join_words([f"module {module} in {count}" for module, count in enumerate(counts)])
    return f"{name}: of {plural(len(judged), 'run')}, {numbers} learned."


def _all_of(number: int) -> str:
    return "its run" if number == 1 else "both runs" if number == 2 else f"all {number} runs"


def _best_depths(cells: Cells, task: tuple[str, str, str], configs: Configs) -> list[_Best]:
    """Each group at its best depth, the best group first."""
    found: dict[str, _Best] = {}
    for row, columns in _comparable(cells, task).items():
        for column, cell in columns.items():
            if column.encoder == "trained":
                one = _Best(column.identity, row, cell, estimate(cell.hits))
                before = found.get(one.group)
                if before is None or one.accuracy.mean > before.accuracy.mean:
                    found[one.group] = one
    order = list(configs)
    return sorted(found.values(), key=lambda one: (-one.accuracy.mean, order.index(one.group)))


def _comparable(cells: Cells, task: tuple[str, str, str]) -> Cells:
    """The rows of a task, without those of several modules that a trained or an untrained encoder was not probed on.

    Several modules have more features than one, so that their gain would count as an encoder's.
    """
    rows = {row: columns for row, columns in cells.items() if row[:3] == task}
    everyone = {column for columns in rows.values() for column in columns if column.encoder in READ_BY_ALL}
    return {
        row: columns
        for row, columns in rows.items()
        if everyone <= columns.keys() or not any(cell.result.concat for cell in columns.values())
    }


def _on_task(title: str, best: Sequence[_Best], cells: Cells, configs: Configs) -> str:
    """A sentence on the best group of a task: than which groups it is better, and than which baselines."""
    first, *others = best
    if others:
        differences = {other.group: _difference(first.cell, other.cell) for other in others}
        text = best_of(first.group, first.accuracy.mean, differences, "group")
    else:
        seeds = plural(first.accuracy.num_seeds, "seed")
        text = f"{first.group} has {first.accuracy.mean:.1%} (95 %: {in_percent(_interval(first.accuracy))}; {seeds})"
    found = {kind: _best_baseline(kind, first, cells, configs) for kind in BASELINES}
    clauses = [
        compared_with(BASELINES[kind], _difference(first.cell, cell)) for kind, cell in found.items() if cell
    ]
    text += f"; {first.group if others else 'it'} is {join_words(clauses)}" if clauses else ""
    if missing := [BASELINES[kind] for kind, cell in found.items() if cell is None]:
        text += f"; not compared with {join_words(missing)}, without which it says little"
    return f"{title}: {text}."


def _best_baseline(kind: str, best: _Best, cells: Cells, configs: Configs) -> Cell | None:
    """The baseline of a kind that the group has, at the depth where that is best; None if it was not probed."""
    found = [
        cell
        for columns in _comparable(cells, best.row[:3]).values()
        for column, cell in columns.items()
        if column.encoder == kind and best.group in groups_of(column, configs)
    ]
    return max(found, key=lambda cell: estimate(cell.hits).mean, default=None)


def _difference(one: Cell, other: Cell) -> Difference:
    """The accuracy of `one` minus the accuracy of `other`; of common seeds alone it might contradict the accuracies."""
    paired = paired_difference(one.hits, other.hits)
    if paired is not None and paired.num_seeds == max(len(one.hits.by_seed), len(other.hits.by_seed)):
        return Difference(paired.mean, paired.low, paired.high)
    return difference(_score(one), _score(other))


def _score(cell: Cell) -> _Score:
    accuracy = estimate(cell.hits)
    return _Score(accuracy.mean, _interval(accuracy))


def _interval(accuracy: Estimate) -> Interval:
    return Interval(low=accuracy.low, high=accuracy.high)


def _next(
    runs: Mapping[str, Sequence[ComparedRun]], leaders: Sequence[str], configs: Configs
) -> NextCommand | None:
    """Go on with a run that has not finished or learned; probe what was not probed; else what the best group needs."""
    everything = [run for of_group in runs.values() for run in of_group]
    waiting = [run for run in everything if run.state in ("interrupted", "failed")]
    unprobed = [run for run in everything if not any(p.encoder == "trained" for p in run.probes)]
    if waiting or not any(_has_learned(run) for run in everything):
        chosen = (waiting or everything)[0]
        return chosen.verdict.next if chosen.verdict is not None else None
    if unprobed:
        task = next((p.task for run in everything for p in run.probes if p.task in TASKS), None)
        task = task or task_of(next(iter(configs.values()))[0].data.shards)
        command = probe_command([run.uri for run in unprobed], task)
        return NextCommand(purpose="measure every run alike", command=command)
    first = runs[leaders[0]][0] if leaders else everything[0]
    return first.verdict.next if first.verdict is not None else None


def _has_learned(run: ComparedRun) -> bool:
    """Whether a module of the run learned, or its figures do not say."""
    modules = run.verdict.modules if run.verdict is not None else ()
    return not modules or any(module.state in ("learned", "begun", "unsure") for module in modules)
