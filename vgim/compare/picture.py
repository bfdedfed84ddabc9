"""A comparison as a picture: accuracy by module with the baselines for each task, and InfoNCE by module."""

from __future__ import annotations

import math
from typing import Any

from vgim.compare.comparison import ComparedRun, Comparison, ProbeFigures
from vgim.downstream.pictures import ASIDE, as_png, new_figure

COLUMNS = 2


def comparison_picture(comparison: Comparison) -> bytes:
    """A PNG; a line a run, bars are 95 % intervals over utterances. Needs matplotlib."""
    tasks = comparison.tasks()
    rows = math.ceil((len(tasks) + 1) / COLUMNS)
    figure = new_figure(5.2 * COLUMNS, 3.6 * rows + 0.5)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for (task, variant), axes in zip(tasks, panels, strict=False):
        _accuracies(axes, comparison, task, variant)
        axes.set_title(f"{task} ({variant})" if variant else task)
    _losses(panels[len(tasks)], comparison)
    for axes in panels[len(tasks) + 1 :]:
        axes.remove()
    depth = max(run.num_modules for run in comparison.runs)
    legend: dict[str, Any] = {}
    for axes in panels[: len(tasks) + 1]:
        axes.set_xticks(range(depth))
        axes.set_xlabel("module")
        axes.spines[["top", "right"]].set_visible(False)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return as_png(figure)


def _accuracies(axes: Any, comparison: Comparison, task: str, variant: str) -> None:
    drawn: set[tuple[object, ...]] = set()
    for number, run in enumerate(comparison.runs):
        own = [p for p in run.probes if (p.task, p.variant) == (task, variant) and p.layer is None]
        trained = _of(own, "trained")
        if trained:
            at = [(p.module or 0) + ASIDE * (number - (len(comparison.runs) - 1) / 2) for p in trained]
            y = [p.accuracy for p in trained]
            ends = [p.interval_over_utterances for p in trained]
            down = [max(0.0, a - end.low) for a, end in zip(y, ends, strict=True)]
            up = [max(0.0, end.high - a) for a, end in zip(y, ends, strict=True)]
            axes.errorbar(at, y, [down, up], fmt="o-", ms=4, capsize=2, color=f"C{number}", label=run.name)
        for kind in sorted({p.encoder for p in own} - {"trained"}):
            _baseline(axes, kind, _of(own, kind), run, f"C{number}", drawn)
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)


def _of(probes: list[ProbeFigures], kind: str) -> list[ProbeFigures]:
    return sorted((p for p in probes if p.encoder == kind), key=lambda p: p.module or 0)


def _baseline(
    axes: Any,
    kind: str,
    own: list[ProbeFigures],
    run: ComparedRun,
    color: str,
    drawn: set[tuple[object, ...]],
) -> None:
    """A dashed level, or with modules a dashed line; black where runs share it, else in the run's color."""
    figures = (kind, *((p.module, p.accuracy, p.data_fingerprint) for p in own))
    if figures in drawn:
        return
    first = not any(other[0] == kind for other in drawn)
    drawn.add(figures)
    style = {
        "linestyle": ":" if kind == "mfcc" else "--",
        "color": {"mfcc": "black", "random": "dimgray"}.get(kind, "tab:brown") if first else color,
        "linewidth": 1.3,
        "label": kind if first else f"{kind} ({run.name})",
    }
    if own[0].module is None:
        axes.axhline(own[0].accuracy, **style)
    else:
        axes.plot([p.module for p in own], [p.accuracy for p in own], marker=".", **style)


def _losses(axes: Any, comparison: Comparison) -> None:
    for number, run in enumerate(comparison.runs):
        known = [(m.module, m.nce) for m in run.modules if m.nce is not None]
        axes.plot(
            *zip(*known, strict=True), "o-", ms=4, color=f"C{number}", label=run.name
        ) if known else None
        fallen = [(m.module, m.nce) for m in run.modules if m.collapsed]
        for module, nce in fallen:
            axes.plot(module, nce, "x", ms=10, color="red", label="collapsed", linestyle="none")
    for chance in sorted({run.chance_nce for run in comparison.runs}):
        axes.axhline(chance, linestyle="-.", color="gray", linewidth=0.9, label="chance (InfoNCE)")
    axes.set_ylabel("validation InfoNCE, nats")
    axes.set_title("InfoNCE")
