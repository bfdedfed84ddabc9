"""Charts of the analyses of latents, drawn from the CSV files beside a result; they take the place of its pictures.

A file that is missing, damaged or too large leaves the picture in its place.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from vgim.errors import VgimError
from vgim.pages.chart import Chart, LegendEntry
from vgim.pages.level_labels import ReferenceLine
from vgim.report.line_chart import Series, line_chart
from vgim.report.map_chart import MapPoint, map_chart
from vgim.storage import Location

LARGEST_FILE = 8_000_000
"""Bytes of a CSV file that is read."""
NO_LABEL = "-"
MOST_DIMENSIONS = 2048
"""Dimensions that are drawn one by one; of more, neighbors are averaged."""
SPECTRUM = "Share of the variance in the first principal components"
"""Title of a curve of `vgim.latents.analyses.map`."""
Rows = list[dict[str, str]]
Figures = Mapping[str, object]


class DrawnChart(NamedTuple):
    """A chart, and the pictures that it replaces."""

    chart: Chart
    replaces: tuple[str, ...]


def draw_analysis(key: str, analysis: str, folder: Location, figures: Figures) -> list[DrawnChart]:
    """The charts of an analysis; none for an analysis without any.

    Args:
        key: Unique on the page.
        analysis: Name in the registry.
        folder: Folder of the result.
        figures: The result's figures.
    """
    if analysis not in DRAWN:
        return []
    try:
        return list(DRAWN[analysis](key, folder, figures))
    except (ValueError, KeyError, IndexError, VgimError):
        return []  # the pictures show the same


def _read(folder: Location, name: str) -> Rows:
    """Rows of a CSV file; none if it is missing or too large.

    Raises:
        VgimError: The file cannot be read.
        ValueError: The file is no text.
    """
    path = folder.child(name)
    if not path.exists() or path.size() > LARGEST_FILE:
        return []
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode())))


def _distribution(key: str, folder: Location, figures: Figures) -> Iterator[DrawnChart]:
    rows = _read(folder, "dimensions.csv")
    if not rows or "kl_nats" not in rows[0]:
        return
    rows.sort(key=lambda row: -float(row["kl_nats"]))
    names = [row["dimension"] for row in rows]
    yield DrawnChart(
        _by_rank(
            f"{key}-kl",
            "KL from N(0, 1) of each dimension (nats per frame)",
            names,
            {"KL": [float(row["kl_nats"]) for row in rows]},
        ),
        ("kl.png",),
    )
    spread = {
        "variance of μ over frames": [float(row["variance_of_mean"]) for row in rows],
        "σ² of the posterior": [float(row["mean_posterior_std"]) ** 2 for row in rows],
    }
    level = ReferenceLine(1.0, "variance of N(0, 1)")
    yield DrawnChart(
        _by_rank(f"{key}-variance", "The two parts of the variance of z", names, spread, [level]), ()
    )


def _labels(key: str, folder: Location, figures: Figures) -> Iterator[DrawnChart]:
    files = [name for name in folder.list() if name.endswith(".csv") and name != "curves.csv"]
    for name in files:
        rows, task = _read(folder, name), name.removesuffix(".csv")
        if not rows or not {"weight", "information_nats"} <= rows[0].keys():
            continue
        parts = (
            ("weight", "weight", f"Weight of each dimension in the {task} probe (Σ |weight × std|)", None),
            (
                "information",
                "information_nats",
                f"Information of each dimension on {task} (nats)",
                figures.get(f"{task}_chance_information_nats"),
            ),
        )
        shares = {}
        for part, column, title, chance in parts:
            ordered = sorted(rows, key=lambda row: -float(row[column]))
            values = [max(float(row[column]), 0.0) for row in ordered]
            levels = [ReferenceLine(chance, "most with shuffled labels")] if isinstance(chance, float) else []
            chart = _by_rank(
                f"{key}-{task}-{part}", title, [r["dimension"] for r in ordered], {part: values}, levels
            )
            yield DrawnChart(chart, (f"{task}-ranking.png",))
            total = max(sum(values), 1e-12)
            shares[part] = [value / total for value in accumulate(values)]
        shares["even spread"] = [(i + 1) / len(rows) for i in range(len(rows))]
        title = f"Share of {task} in the heaviest dimensions"
        names = [str(i + 1) for i in range(len(rows))]
        yield DrawnChart(
            _by_rank(
                f"{key}-{task}-share", title, names, shares, point_label="first dimensions", percent=True
            ),
            (f"{task}-concentration.png",),
        )


def _map(key: str, folder: Location, figures: Figures) -> Iterator[DrawnChart]:
    rows = _read(folder, "points.csv")
    labels = [name for name in (rows[0] if rows else ()) if name not in _POSITIONS]
    for label in labels:
        for method, column, file in (("t-SNE", "tsne", "tsne"), ("PCA", "pca", "pca")):
            points = _points(rows, column, label, detail=lambda row: f", frame {row['frame']}")
            title = f"{method} of frames by {label}"
            yield DrawnChart(
                map_chart(f"{key}-{file}-{label}", title, points, _axes(method)), (f"{file}-{label}.png",)
            )
    shares = [float(row["y"]) for row in _read(folder, "curves.csv") if row["curve"] == SPECTRUM]
    if shares:
        chart = _by_rank(
            f"{key}-spectrum",
            SPECTRUM,
            [str(i + 1) for i in range(len(shares))],
            {"share": shares},
            [ReferenceLine(0.9, "90 %")],
            x_label="principal components",
            point_label="first components",
            percent=True,
        )
        yield DrawnChart(chart, ("spectrum.png",))
    utterances = _read(folder, "utterances.csv")
    for label in (name for name in (utterances[0] if utterances else ()) if name not in _POSITIONS):
        chart = map_chart(
            f"{key}-utterances-{label}",
            f"t-SNE of utterances by {label}",
            _points(utterances, "tsne", label, detail=lambda row: ""),
            _axes("t-SNE"),
        )
        yield DrawnChart(chart, (f"tsne-utterances-{label}.png",))


_POSITIONS = ("utterance", "frame", "pca_1", "pca_2", "tsne_1", "tsne_2")


def _axes(method: str) -> tuple[str, str]:
    return f"{method} 1", f"{method} 2"


def _finite(text: str) -> float:
    """A number of a file.

    Raises:
        ValueError: The text is no finite number.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _points(rows: Rows, column: str, label: str, detail: Callable[[dict[str, str]], str]) -> list[MapPoint]:
    return [
        MapPoint(
            _finite(row[f"{column}_1"]),
            _finite(row[f"{column}_2"]),
            "" if row[label] == NO_LABEL else row[label],
            row["utterance"],
            detail(row),
        )
        for row in rows
    ]


def _sensitivity(key: str, folder: Location, figures: Figures) -> Iterator[DrawnChart]:
    rows = [row for row in _read(folder, "accuracy.csv") if row["low"]]
    if not rows:
        return
    majority = figures.get("majority")
    levels = [ReferenceLine(majority, "most frequent class")] if isinstance(majority, float) else []
    chart = _over_sizes(
        f"{key}-attack",
        "Accuracy of the probe against the size ε of the attack",
        "ε",
        _grouped(rows, "attack", "epsilon", "accuracy"),
        levels,
        percent=True,
    )
    yield DrawnChart(chart, ("attack.png",))


def _contribution(key: str, folder: Location, figures: Figures) -> Iterator[DrawnChart]:
    rows = _read(folder, "scores.csv")
    for domain, file in (("audio", "audio.png"), ("log-mel", "mel.png")):
        own = [row for row in rows if row["domain"] == domain]
        if own:
            title = f"Error left after dimensions are swapped, {domain}"
            lines = _grouped(own, "dimensions", "swapped", "relative error")
            chart = _over_sizes(f"{key}-{file[:-4]}", title, "dimensions", lines, percent=True)
            yield DrawnChart(chart, (file,))


def _smoothness(key: str, folder: Location, figures: Figures) -> Iterator[DrawnChart]:
    rows = [
        row for row in _read(folder, "curves.csv") if row["curve"].startswith("Share of the decoded path")
    ]
    if not rows:
        return
    values = _values(rows, "x", "y")
    even = figures.get("even_step_share")
    series = Series(
        "", 0, "mean over pairs", tuple(zip(values.x, values.y, strict=True)), "dots", values.intervals
    )
    chart = line_chart(
        f"{key}-steps",
        "Share of the decoded path that each step of an interpolation covers",
        f"Shares of {len(rows)} steps, from {min(values.y):.3g} to {max(values.y):.3g}.",
        "position between the two utterances",
        [series],
        [ReferenceLine(even, "even steps")] if isinstance(even, float) else [],
        percent=True,
    )
    yield DrawnChart(chart, ("steps.png",))


class _Values(NamedTuple):
    x: tuple[float, ...]
    y: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]


def _grouped(rows: Rows, by: str, x: str, y: str) -> dict[str, _Values]:
    """Lines by the value of a column."""
    names = dict.fromkeys(row[by] for row in rows)
    return {name: _values([row for row in rows if row[by] == name], x, y) for name in names}


def _values(rows: Rows, x: str, y: str) -> _Values:
    return _Values(
        tuple(float(row[x]) for row in rows),
        tuple(float(row[y]) for row in rows),
        tuple((float(row["low"]), float(row["high"])) for row in rows if row["low"]),
    )


def _over_sizes(
    key: str,
    title: str,
    x_label: str,
    lines: Mapping[str, _Values],
    levels: Sequence[ReferenceLine] = (),
    *,
    percent: bool = False,
) -> Chart:
    """Lines over a few sizes, which stand at equal distances."""
    sizes = sorted({x for values in lines.values() for x in values.x})
    series = [
        Series(
            "",
            number,
            name,
            tuple((float(sizes.index(x)), y) for x, y in zip(values.x, values.y, strict=True)),
            "dots",
            values.intervals,
        )
        for number, (name, values) in enumerate(lines.items())
    ]
    return line_chart(
        key,
        title,
        _from_to(title, series),
        x_label,
        series,
        levels,
        x_ticks=[float(number) for number in range(len(sizes))],
        x_names=[f"{size:g}" for size in sizes],
        percent=percent,
        legend=[LegendEntry(s.label, s.color) for s in series],
    )


def _from_to(title: str, series: Sequence[Series]) -> str:
    """A chart in a sentence, for those who do not see it: the first and the last value of each line."""
    ends = (f"{s.label} from {s.points[0][1]:.3g} to {s.points[-1][1]:.3g}" for s in series)
    return f"{title}: {'; '.join(ends)}."


def _by_rank(
    key: str,
    title: str,
    names: Sequence[str],
    lines: Mapping[str, Sequence[float]],
    levels: Sequence[ReferenceLine] = (),
    *,
    x_label: str = "dimensions, largest first",
    point_label: str = "dimension",
    percent: bool = False,
) -> Chart:
    """Values of dimensions in the order of `names`, each of which a reader who points at it is told."""
    series = [
        Series(
            "",
            number,
            label,
            tuple((float(rank + 1), value) for rank, value in enumerate(values)),
            is_whole=len(values) <= MOST_DIMENSIONS,
        )
        for number, (label, values) in enumerate(lines.items())
    ]
    return line_chart(
        key,
        title,
        _from_to(title, series),
        x_label,
        series,
        levels,
        percent=percent,
        point_label=point_label,
        point_names=dict(enumerate(names, start=1)),
        legend=[LegendEntry(s.label, s.color) for s in series] if len(series) > 1 else (),
    )


DRAWN: dict[str, Callable[[str, Location, Figures], Iterator[DrawnChart]]] = {
    "distribution": _distribution,
    "map": _map,
    "labels": _labels,
    "sensitivity": _sensitivity,
    "contribution": _contribution,
    "smoothness": _smoothness,
}
