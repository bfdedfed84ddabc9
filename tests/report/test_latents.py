"""The page's section on latents: order, folding, names with units, charts from CSV files, maps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.report.page_cases import read
from tests.report.report_cases import write_analysis
from vgim.latents.figure_names import figure_name, figure_text
from vgim.report.analysis_charts import LARGEST_FILE, draw_analysis
from vgim.report.map_chart import FRAME, MapPoint, map_chart
from vgim.report.meanings import meaning_of
from vgim.storage import Location

AXES = ("PCA 1", "PCA 2")
DIMENSIONS = "dimension,kl_nats,variance_of_mean,mean_posterior_std\n7,0.5,0.4,0.8\n3,1.5,0.9,0.2\n"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "dimensions_2_excess_nats",
            0.0221,
            "Total correlation of 2 dimensions, above shuffled: 0.0221 nats",
        ),
        ("kl_nats_per_frame", 16.61, "KL from N(0, 1): 16.61 nats per frame"),
        ("active_share", 1.0, "Active dimensions: 100.0%"),
        ("speaker_of_utterance_by_chance", 0.25, "Any utterance has the same speaker, by chance: 25.0%"),
        ("noise_accuracy_at_0.001", 0.5, "Accuracy under random signs, ε = 0.001: 50.0%"),
        (
            "phone_weight_share_of_top_10",
            0.3,
            "Weight of the phone probe in its 10 heaviest dimensions: 30.0%",
        ),
        ("something_new", 3, "something new: 3"),
    ],
)
def test_figures_have_names_and_units(key: str, value: float, text: str) -> None:
    assert f"{figure_name(key)}: {figure_text(key, value)}" == text


@pytest.mark.parametrize(
    ("analysis", "figures", "words"),
    [
        ("distribution", {"active_share": 0.01, "mean_ks": 0.01}, "carry next to nothing"),
        ("distribution", {"active_share": 0.9, "mean_ks": 0.04}, "close to N(0, 1) (gap 0.04"),
        ("distribution", {"active_share": 0.9, "mean_ks": 0.4}, "far from N(0, 1)"),
        ("distribution", {"active_share": 0.9}, "no posterior"),
        ("map", {"phone_of_neighbour": 0.6, "phone_by_chance": 0.2}, "phone 3.0 times"),
        ("map", {"speaker_of_neighbour": 0.0, "speaker_by_chance": 0.0}, "No two utterances share a label"),
        ("labels", {"phone_dimensions_for_half_of_weight": 20}, "20 for phone"),
        ("sensitivity", {"clean_accuracy": 0.5, "accuracy_at_0.1": 0.1, "accuracy_at_0.01": 0.4}, "20%"),
    ],
)
def test_a_sentence_says_what_an_analysis_means(analysis: str, figures: dict[str, float], words: str) -> None:
    assert words in meaning_of(analysis, figures)


def test_results_that_lack_a_figure_or_are_unknown_have_no_such_sentence() -> None:
    assert meaning_of("distribution", {}) == ""
    assert meaning_of("smoothness", {"path_ratio": "far"}) == ""
    assert meaning_of("invented", {"a": 1}) == ""


def test_distribution_map_and_labels_come_first_and_the_rest_is_folded(run: Path) -> None:
    for name in ("smoothness", "labels", "map", "correlation", "invented"):
        write_analysis(run, name=name, title=name)
    page = read(run)
    names = {"Distribution", "map", "labels", "correlation", "smoothness", "invented"}
    titles = [text.split()[0] for level, text in page.headings if level == 3 and text.split()[0] in names]
    assert titles == ["Distribution", "map", "labels", "correlation", "smoothness", "invented"]
    folded = [attributes for attributes in page.of("details") if attributes.get("class") == "analysis"]
    assert len(folded) == 3


def test_a_chart_takes_the_place_of_a_picture_whose_data_can_be_read(run: Path) -> None:
    pictures = [{"file": "kl.png", "caption": "KL"}, {"file": "histogram.png", "caption": "histogram"}]
    folder = write_analysis(run, pictures=pictures)
    (folder / "kl.png").write_bytes((folder / "histogram.png").read_bytes())
    before = read(run)
    assert [img["alt"] for img in before.of("img") if img["alt"] in ("KL", "histogram")] == [
        "KL",
        "histogram",
    ]
    (folder / "dimensions.csv").write_text(DIMENSIONS)
    page = read(run)
    assert [img["alt"] for img in page.of("img") if img["alt"] in ("KL", "histogram")] == ["histogram"]
    values = [path["data-values"] for path in page.of("path") if "data-values" in path]
    assert "3|1.5;7|0.5" in values  # largest first, by the number of the dimension


@pytest.mark.parametrize(
    "content", ["", "dimension,kl_nats\n1,much\n", "\0", DIMENSIONS.replace("0.4", ""), None]
)
def test_damaged_data_leave_the_picture(run: Path, content: str | None) -> None:
    folder = write_analysis(run)
    (folder / "dimensions.csv").write_text("x" * (LARGEST_FILE + 1) if content is None else content)
    assert draw_analysis("key", "distribution", Location(folder), {}) == []
    assert "Most dimensions stay close to N(0, 1)." in read(run).words


def points(num: int, num_classes: int) -> list[MapPoint]:
    return [
        MapPoint(i % 10, i // 10, f"c{i % num_classes}" if i % 3 else "", f"utterance{i % 4}", f", frame {i}")
        for i in range(num)
    ]


def test_every_point_of_a_map_names_itself() -> None:
    chart = map_chart("map", "t-SNE", points(90, 5), AXES)
    assert sum(len(cloud.values) for cloud in chart.clouds) == 90
    for cloud in chart.clouds:
        assert len(cloud.values) == len(re.findall("M", cloud.path))
    assert chart.names == ("utterance0", "utterance1", "utterance2", "utterance3")
    assert chart.clouds[0].is_faint  # points without a label
    assert [entry.text for entry in chart.legend] == ["c0", "c1", "c2", "c3", "c4"]


def test_points_of_a_map_of_few_are_larger() -> None:
    sizes = [map_chart("map", "t-SNE", points(num, 3), AXES).clouds[0].size for num in (12, 200, 1000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[2]


def test_points_far_outside_are_marked_at_the_edge_and_counted() -> None:
    far = [MapPoint(900.0, 3.0, "c1", "utterance9", ", frame 1"), MapPoint(4.0, -700.0, "", "utterance9", "")]
    chart = map_chart("map", "PCA", [*points(400, 3), *far], AXES)
    assert chart.note == (
        "2 of 402 points lie outside the drawing, at PCA 1 4 to 900, PCA 2 -700 to 3; triangles mark them."
    )
    assert [mark.angle for mark in chart.clipped] == [90, 180]
    assert all(
        FRAME.left <= mark.x <= FRAME.right and FRAME.top <= mark.y <= FRAME.bottom for mark in chart.clipped
    )


def test_a_map_of_many_points_is_bounded_and_many_classes_are_named_on_it() -> None:
    chart = map_chart("map", "t-SNE", points(7500, 41), AXES)
    assert sum(len(cloud.values) for cloud in chart.clouds) == 1500
    assert "1,500 of 7,500 points are drawn." in chart.note
    assert chart.legend == ()
    assert chart.placed_names


@pytest.mark.parametrize("num", [0, 1, 2])
def test_a_map_of_almost_no_points_is_drawn(num: int) -> None:
    assert sum(len(cloud.values) for cloud in map_chart("m", "t", points(num, 2), AXES).clouds) == num
