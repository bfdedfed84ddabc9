"""A comparison as a picture: accuracy by module with the baselines for each task, and InfoNCE by module."""

from __future__ import annotations

import math
from typing import Any

from vgim.compare.comparison import ComparedProbe, ComparedRun, Comparison
from vgim.downstream.output import Output
from vgim.downstream.pictures import ASIDE
from vgim.plotting import Figure, new_figure

COLUMNS = 2


def comparison_picture(comparison: Comparison) -> Figure:
    """Draw a line for each run, bars are 95 % intervals over utterances. Needs matplotlib."""
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
    depth = _depth(comparison)
    legend: dict[str, Any] = {}
    for (task, variant), axes in zip(tasks, panels, strict=False):
        several = _several(comparison, task, variant)
        axes.set_xticks(range(depth + len(several)), [*range(depth), *(output.numbers for output in several)])
    panels[len(tasks)].set_xticks(range(depth))
    for axes in panels[: len(tasks) + 1]:
        axes.set_xlabel("module")
        axes.spines[["top", "right"]].set_visible(False)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _depth(comparison: Comparison) -> int:
    """Modules of the deepest run."""
    return max(run.num_modules for run in comparison.runs)


def _several(comparison: Comparison, task: str, variant: str) -> list[Output]:
    """Sets of modules that were probed side by side; they stand behind the deepest module."""
    probes = [p for run in comparison.runs for p in run.probes if (p.task, p.variant) == (task, variant)]
    return sorted({p.output for p in probes if p.concat}, key=lambda output: output.depth)


def _accuracies(axes: Any, comparison: Comparison, task: str, variant: str) -> None:
    """Draw the accuracies of one task: trained encoders in their run's color, and baselines."""
    drawn: set[tuple[object, ...]] = set()
    several, depth = _several(comparison, task, variant), _depth(comparison)
    for index, run in enumerate(comparison.runs):
        probes = [p for p in run.probes if (p.task, p.variant) == (task, variant) and p.layer is None]
        aside = ASIDE * (index - (len(comparison.runs) - 1) / 2)
        for p in probes:
            if p.concat and p.encoder in ("trained", "random"):
                x = depth + several.index(p.output) + aside
                _with_intervals(axes, [x], [p], fmt="o" if p.encoder == "trained" else "s", color=f"C{index}")
        trained = _by_module(probes, "trained")
        if trained:
            x_M = [(p.module or 0) + aside for p in trained]
            _with_intervals(axes, x_M, trained, fmt="o-", color=f"C{index}", label=run.name)
        for kind in sorted({p.encoder for p in probes if not p.concat} - {"trained"}):
            _baseline(axes, kind, _by_module(probes, kind), run, f"C{index}", drawn)
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)


def _with_intervals(axes: Any, x: list[float], probes: list[ComparedProbe], **style: Any) -> None:
    y = [p.accuracy for p in probes]
    intervals = [p.interval_over_utterances for p in probes]
    down = [max(0.0, a - interval.low) for a, interval in zip(y, intervals, strict=True)]
    up = [max(0.0, interval.high - a) for a, interval in zip(y, intervals, strict=True)]
    axes.errorbar(x, y, [down, up], ms=4, capsize=2, **style)


def _by_module(probes: list[ComparedProbe], kind: str) -> list[ComparedProbe]:
    return sorted((p for p in probes if p.encoder == kind and not p.concat), key=lambda p: p.module or 0)


def _baseline(
    axes: Any,
    kind: str,
    probes: list[ComparedProbe],
    run: ComparedRun,
    color: str,
    drawn: set[tuple[object, ...]],
) -> None:
    """Draw a baseline as a dashed level, or as a dashed line over modules.

    A baseline that several runs share is drawn once, in black or gray; others have their run's color.

    Args:
        drawn: Baselines that the panel has already; this one is added.
    """
    key = (kind, *((p.module, p.accuracy, p.data_fingerprint) for p in probes))
    if key in drawn:
        return
    is_first = not any(other[0] == kind for other in drawn)
    drawn.add(key)
    style = {
        "linestyle": ":" if kind == "mfcc" else "--",
        "color": {"mfcc": "black", "random": "dimgray"}.get(kind, "tab:brown") if is_first else color,
        "linewidth": 1.3,
        "label": kind if is_first else f"{kind} ({run.name})",
    }
    if probes[0].module is None:
        axes.axhline(probes[0].accuracy, **style)
    else:
        axes.plot([p.module for p in probes], [p.accuracy for p in probes], marker=".", **style)


def _losses(axes: Any, comparison: Comparison) -> None:
    """Draw InfoNCE by module, with collapsed modules marked and the level of chance."""
    for index, run in enumerate(comparison.runs):
        points = [(m.module, m.nce) for m in run.modules if m.nce is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", ms=4, color=f"C{index}", label=run.name)
        for module in run.modules:
            if module.collapsed:
                axes.plot(
                    module.module, module.nce, "x", ms=10, color="red", label="collapsed", linestyle="none"
                )
    for chance in sorted({run.chance_nce for run in comparison.runs}):
        axes.axhline(chance, linestyle="-.", color="gray", linewidth=0.9, label="chance (InfoNCE)")
    axes.set_ylabel("validation InfoNCE, nats")
    axes.set_title("InfoNCE")
